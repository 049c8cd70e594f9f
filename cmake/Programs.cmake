# How this tree becomes programs: DIR/*.c is a static library, DIR/NAME_main.c a program on top of it, so that tests link everything.
# Sources are found by pattern (CONFIGURE_DEPENDS): a new file needs no change here.

# usbpush_add_core(TARGET DIR): the static library of all of DIR's sources but the *_main.c.
function(usbpush_add_core target dir)
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.c)
	list(FILTER sources EXCLUDE REGEX "_main\\.c$")
	add_library(${target} STATIC ${sources})
	target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/${dir})
endfunction()

# usbpush_add_program(NAME MAIN COMPONENT pi|vm DESTINATION bin|libexec [LIBRARIES ...])
function(usbpush_add_program name main)
	cmake_parse_arguments(arg "" "COMPONENT;DESTINATION" "LIBRARIES" ${ARGN})
	add_executable(${name} ${main})
	target_link_libraries(${name} PRIVATE ${arg_LIBRARIES})
	if(arg_DESTINATION STREQUAL "bin")
		set(destination ${CMAKE_INSTALL_BINDIR})
	else()
		set(destination ${CMAKE_INSTALL_LIBEXECDIR}/usbpush)
	endif()
	install(TARGETS ${name} RUNTIME DESTINATION ${destination} COMPONENT ${arg_COMPONENT})
	set_property(GLOBAL APPEND PROPERTY USBPUSH_PROGRAMS ${name})
	if(USBPUSH_HARDEN AND CMAKE_OBJCOPY)
		# Which compiler made each object: of no use to who runs it, and stripping leaves it in.
		add_custom_command(TARGET ${name} POST_BUILD COMMAND ${CMAKE_OBJCOPY} --remove-section=.comment $<TARGET_FILE:${name}> VERBATIM)
	endif()
endfunction()
