# Builds files into a program: each as it is and as gzip, with a tag that changes with its bytes. As a function of the build, and as the script that
# the build runs.

# usbpush_embed(RESULT OUTPUT DIR FILES...): a C source that defines ASSETS (portal/api_asset.h) of the files below DIR.
function(usbpush_embed result output)
	set(script ${CMAKE_SOURCE_DIR}/cmake/Assets.cmake)
	list(JOIN ARGN "|" files)
	add_custom_command(OUTPUT ${output} COMMAND ${CMAKE_COMMAND} -D OUTPUT=${output} -D FILES=${files} -P ${script}
		DEPENDS ${ARGN} ${script} COMMENT "Embedding the portal's page" VERBATIM)
	set(${result} ${output} PARENT_SCOPE)
endfunction()

if(NOT CMAKE_SCRIPT_MODE_FILE)
	return()
endif()

set(types
	html "text/html; charset=utf-8"
	js "text/javascript; charset=utf-8"
	css "text/css; charset=utf-8"
	svg "image/svg+xml"
	json "application/json")

# The bytes of a file as a C array.
function(append_array name file)
	file(READ ${file} hex HEX)
	string(REGEX REPLACE "(..)" "0x\\1," hex "${hex}")
	string(APPEND source "static const unsigned char ${name}[] = {${hex}};\n")
	set(source "${source}" PARENT_SCOPE)
endfunction()

string(REPLACE "|" ";" FILES "${FILES}")
set(source "/* Made by cmake/Assets.cmake. */\n#include \"api_asset.h\"\n")
set(table "")
set(at 0)
foreach(file IN LISTS FILES)
	get_filename_component(name ${file} NAME)
	string(REGEX MATCH "[a-z]+$" extension ${name})
	list(FIND types ${extension} found)
	math(EXPR found "${found} + 1")
	list(GET types ${found} type)
	if(name STREQUAL "index.html")
		set(path "/")
	elseif(name STREQUAL "openapi.json")
		set(path "/api/v1/openapi.json")
	else()
		set(path "/${name}")
	endif()
	file(SHA256 ${file} tag)
	string(SUBSTRING ${tag} 0 16 tag)
	set(packed ${OUTPUT}.${name}.gz)
	execute_process(COMMAND gzip -9nc ${file} OUTPUT_FILE ${packed} COMMAND_ERROR_IS_FATAL ANY)
	append_array(plain_${at} ${file})
	append_array(packed_${at} ${packed})
	string(APPEND table "\t{ \"${path}\", \"${type}\", plain_${at}, packed_${at}, sizeof(plain_${at}), sizeof(packed_${at}), \"\\\"${tag}\\\"\" },\n")
	math(EXPR at "${at} + 1")
endforeach()
string(APPEND source "const struct asset ASSETS[] = {\n${table}};\nconst size_t ASSETS_COUNT = sizeof(ASSETS) / sizeof(ASSETS[0]);\n")
file(WRITE ${OUTPUT} "${source}")
