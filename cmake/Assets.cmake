# Builds the portal's page into the program: as it is and as gzip. As a function of the build, and as the script that the build runs.

# usbpush_embed(RESULT OUTPUT PAGE PARTS... FILES...): a C source that defines PAGE (portal/api_page.h) of the index.html with its style sheet and its modules
# (PARTS) in it, so that a browser asks once, and ASSETS (portal/api_asset.h) of the further FILES.
function(usbpush_embed result output)
	cmake_parse_arguments(embed "" "PAGE" "PARTS;FILES" ${ARGN})
	set(script ${CMAKE_SOURCE_DIR}/cmake/Assets.cmake)
	list(JOIN embed_FILES "|" files)
	add_custom_command(OUTPUT ${output} COMMAND ${CMAKE_COMMAND} -D OUTPUT=${output} -D PAGE=${embed_PAGE} -D FILES=${files} -P ${script}
		DEPENDS ${embed_PAGE} ${embed_PARTS} ${embed_FILES} ${script} COMMENT "Embedding the portal's page" VERBATIM)
	set(${result} ${output} PARENT_SCOPE)
endfunction()

if(NOT CMAKE_SCRIPT_MODE_FILE)
	return()
endif()

set(type_svg "image/svg+xml")
set(type_json "application/json")

# The page's modules, each after those that it needs at once.
set(modules dom api device dialogs app)

# The bytes of a file as a C array.
function(append_array name file)
	file(READ ${file} hex HEX)
	string(REGEX REPLACE "(..)" "0x\\1," hex "${hex}")
	string(APPEND source "static const unsigned char ${name}[] = {${hex}};\n")
	set(source "${source}" PARENT_SCOPE)
endfunction()

# A file and its gzip as C arrays.
function(append_file at file)
	execute_process(COMMAND gzip -9nc ${file} OUTPUT_FILE ${file_packed} COMMAND_ERROR_IS_FATAL ANY)
	append_array(plain_${at} ${file})
	append_array(packed_${at} ${file_packed})
	set(source "${source}" PARENT_SCOPE)
endfunction()

# The SHA-256 of a text in base64, as a Content-Security-Policy names what it lets stand in the page.
function(base64_sha256 result text)
	set(alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
	string(SHA256 hex "${text}")
	set(base64 "")
	foreach(at RANGE 0 60 6) # three bytes are four letters; 32 bytes end in two, which are three letters
		string(SUBSTRING "${hex}0000" ${at} 6 three)
		foreach(shift 18 12 6 0)
			math(EXPR index "(0x${three} >> ${shift}) & 63")
			string(SUBSTRING "${alphabet}" ${index} 1 letter)
			string(APPEND base64 "${letter}")
		endforeach()
	endforeach()
	string(SUBSTRING "${base64}" 0 43 base64)
	set(${result} "${base64}=" PARENT_SCOPE)
endfunction()

# html with text in the place of mark, which must be there.
function(put_into_page mark text)
	string(FIND "${html}" "${mark}" at)
	if(at EQUAL -1)
		message(FATAL_ERROR "${PAGE} lacks ${mark}")
	endif()
	string(REPLACE "${mark}" "${text}" html "${html}")
	set(html "${html}" PARENT_SCOPE)
endfunction()

# ---- the page ----

get_filename_component(dir ${PAGE} DIRECTORY)
file(READ ${PAGE} html)
file(READ ${dir}/icon.svg icon)
file(READ ${dir}/style.css style)
set(script "\n")
foreach(module IN LISTS modules)
	file(READ ${dir}/${module}.js text)
	string(REGEX REPLACE "\nimport [^\n]*;" "" text "\n${text}") # they are one module now
	string(REPLACE "\nexport " "\n" text "${text}")
	string(APPEND script "${text}")
endforeach()
if(script MATCHES "</script|<!--|\n(import|export)[ {]")
	message(FATAL_ERROR "a module has \"${CMAKE_MATCH_0}\", which can't stand in the page")
endif()
string(REPLACE "<svg " "<svg width=\"28\" height=\"28\" aria-hidden=\"true\" " icon "${icon}")
put_into_page("<img src=\"/icon.svg\" alt=\"\" width=\"28\" height=\"28\">" "${icon}")
put_into_page("<link rel=\"stylesheet\" href=\"/style.css\">" "<style>${style}</style>")
put_into_page(" src=\"/app.js\"></script>" ">${script}</script>")
base64_sha256(style_hash "${style}")
base64_sha256(script_hash "${script}")

# Between the two halves goes the state, at each request.
set(mark "<script id=\"state\" type=\"application/json\">")
string(FIND "${html}" "${mark}null" at)
if(at EQUAL -1)
	message(FATAL_ERROR "${PAGE} has no place for the state")
endif()
string(LENGTH "${mark}" length)
math(EXPR at "${at} + ${length}")
string(SUBSTRING "${html}" 0 ${at} head)
math(EXPR at "${at} + 4")
string(SUBSTRING "${html}" ${at} -1 rest)
file(WRITE ${OUTPUT}.head "${head}")
file(WRITE ${OUTPUT}.rest "${rest}")

set(source "/* Made by cmake/Assets.cmake. */\n#include \"api_asset.h\"\n#include \"api_page.h\"\n")
set(file_packed ${OUTPUT}.rest.gz)
append_array(head ${OUTPUT}.head)
append_file(rest ${OUTPUT}.rest)
string(APPEND source "const struct page PAGE = { head, plain_rest, packed_rest, sizeof(head), sizeof(plain_rest), sizeof(packed_rest),\n"
	"\t\"script-src 'sha256-${script_hash}'; style-src 'sha256-${style_hash}'\" };\n")

# ---- the files ----

string(REPLACE "|" ";" FILES "${FILES}")
set(table "")
set(at 0)
foreach(file IN LISTS FILES)
	get_filename_component(name ${file} NAME)
	string(REGEX MATCH "[a-z]+$" extension ${name})
	if(name STREQUAL "openapi.json")
		set(path "/api/v1/openapi.json")
	else()
		set(path "/${name}")
	endif()
	file(SHA256 ${file} tag)
	string(SUBSTRING ${tag} 0 16 tag)
	set(file_packed ${OUTPUT}.${name}.gz)
	append_file(${at} ${file})
	string(APPEND table "\t{ \"${path}\", \"${type_${extension}}\", plain_${at}, packed_${at}, sizeof(plain_${at}), sizeof(packed_${at}), \"\\\"${tag}\\\"\" },\n")
	math(EXPR at "${at} + 1")
endforeach()
string(APPEND source "const struct asset ASSETS[] = {\n${table}};\nconst size_t ASSETS_COUNT = sizeof(ASSETS) / sizeof(ASSETS[0]);\n")
file(WRITE ${OUTPUT} "${source}")
