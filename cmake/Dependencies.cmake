# The libraries, each with the Debian package that has it. All that are missing are told in one message.

find_package(PkgConfig)
if(NOT PKG_CONFIG_FOUND)
	message(FATAL_ERROR "pkg-config is missing. Install it: apt-get install pkg-config")
endif()

set(usbpush_missing_libraries "")
set(usbpush_missing_packages "")

# usbpush_find(MODULE VERSION PACKAGE) makes the target PkgConfig::MODULE.
macro(usbpush_find module version package)
	pkg_check_modules(${module} QUIET IMPORTED_TARGET "${module}>=${version}")
	if(NOT ${module}_FOUND)
		string(APPEND usbpush_missing_libraries "\n  ${module} ${version} or later: package ${package}")
		list(APPEND usbpush_missing_packages ${package})
	endif()
endmacro()

usbpush_find(libudev 247 libudev-dev)
usbpush_find(libsystemd 247 libsystemd-dev)
usbpush_find(avahi-client 0.8 libavahi-client-dev)
usbpush_find(libcurl 7.85 libcurl4-openssl-dev)
usbpush_find(libkmod 28 libkmod-dev)
usbpush_find(jansson 2.13 libjansson-dev)
usbpush_find(libssh 0.10 libssh-dev)
usbpush_find(libsodium 1.0.18 libsodium-dev)
usbpush_find(libmicrohttpd 0.9.75 libmicrohttpd-dev)
usbpush_find(libcrypt 4.4 libcrypt-dev)
if(BUILD_TESTING)
	usbpush_find(check 0.15 check)
endif()

if(usbpush_missing_packages)
	list(JOIN usbpush_missing_packages " " usbpush_missing_packages)
	message(FATAL_ERROR "Libraries are missing:${usbpush_missing_libraries}\nInstall them and run cmake again:\n"
		"  apt-get install ${usbpush_missing_packages}\n")
endif()
