# Warnings, hardening, sanitizers. The presets choose; a plain `cmake -B build` gets warnings and nothing else.

include(CheckCCompilerFlag)
include(CheckLinkerFlag)

option(USBPUSH_WERROR "Treat warnings as errors" OFF)
option(USBPUSH_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer, both fatal" OFF)
option(USBPUSH_FUZZ "Build the targets of tests/fuzz (clang): libFuzzer, and both sanitizers" OFF)
option(USBPUSH_ANALYZE "Look for errors along every path (gcc -fanalyzer)" OFF)
option(USBPUSH_HARDEN "Build position-independent and hardened, as packages are" OFF)
option(USBPUSH_LTO "Optimize across files at link time" OFF)
option(USBPUSH_COVERAGE "Count executed lines for gcov" OFF)

# Adds those of the flags that this compiler knows: the list is for gcc and clang, for x86 and Arm.
function(usbpush_add_flags)
	foreach(flag IN LISTS ARGN)
		string(MAKE_C_IDENTIFIER "HAVE${flag}" known)
		# gcc accepts any unknown -Wno-x: ask for -Wx instead.
		string(REGEX REPLACE "^-Wno-" "-W" asked "${flag}")
		check_c_compiler_flag("${asked}" ${known})
		if(${known})
			add_compile_options(${flag})
		endif()
	endforeach()
endfunction()

usbpush_add_flags(
	-Wall -Wextra -Wformat=2 -Wformat-signedness -Wshadow -Wundef -Wvla -Wwrite-strings -Wpointer-arith
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wredundant-decls -Wnested-externs
	-Wimplicit-fallthrough -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Walloca -Wfloat-equal
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types -Werror=int-conversion -Werror=return-type
	# Callbacks take what their type says, and initializers leave out what is zero: both are how this code is written.
	-Wno-unused-parameter -Wno-missing-field-initializers)

add_compile_options(-fno-common -ffunction-sections -fdata-sections)
add_link_options(-Wl,--as-needed -Wl,--gc-sections)

if(USBPUSH_WERROR)
	add_compile_options(-Werror)
endif()

if(USBPUSH_SANITIZE)
	add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
	add_link_options(-fsanitize=address,undefined)
endif()

if(USBPUSH_FUZZ)
	if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
		message(FATAL_ERROR "USBPUSH_FUZZ takes clang. Use the preset: cmake --preset fuzz")
	endif()
	set(CMAKE_REQUIRED_FLAGS "-fsanitize=fuzzer-no-link")
	check_linker_flag(C "-fsanitize=fuzzer-no-link,address,undefined" HAVE_LIBFUZZER)
	unset(CMAKE_REQUIRED_FLAGS)
	if(NOT HAVE_LIBFUZZER)
		message(FATAL_ERROR "clang has no runtime of libFuzzer and the sanitizers. Install it: apt-get install libclang-rt-14-dev")
	endif()
	add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
	add_link_options(-fsanitize=address,undefined)
endif()

# Not optimized: with functions put into each other gcc 12 takes what freep() frees for uninitialized.
if(USBPUSH_ANALYZE)
	if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
		message(FATAL_ERROR "USBPUSH_ANALYZE takes gcc. Use the preset: cmake --preset analyze")
	endif()
	add_compile_options(-fanalyzer)
	# A client's output hangs on the client and that in its server's list, a channel's staged bytes on the channel and that in its session's: gcc 12 loses sight of what
	# hangs in a list, and calls it leaked. The check programs of both run under LeakSanitizer.
	set_source_files_properties(common/local_server.c pi/transport_channel.c PROPERTIES COMPILE_OPTIONS -Wno-analyzer-malloc-leak)
endif()

if(USBPUSH_COVERAGE)
	add_compile_options(--coverage -fprofile-update=atomic)
	add_link_options(--coverage)
endif()

if(USBPUSH_HARDEN)
	include(CheckPIESupported)
	check_pie_supported(LANGUAGES C)
	set(CMAKE_POSITION_INDEPENDENT_CODE ON)
	usbpush_add_flags(-fstack-protector-strong -fstack-clash-protection -fcf-protection -mbranch-protection=standard)
	add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
	add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()

if(USBPUSH_LTO)
	set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
endif()
