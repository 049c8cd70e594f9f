# What is installed beside the programs, and the two packages: usbpush-pi and usbpush-vm, one component each.

if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
	message(WARNING "Units and scripts name /usr/libexec/usbpush: with CMAKE_INSTALL_PREFIX=${CMAKE_INSTALL_PREFIX} they find no program.")
endif()

set(generated ${CMAKE_BINARY_DIR}/packaging)
set(compressed "")

# usbpush_gzip(SOURCE RESULT): as Debian wants it, without name and time, so that the same source gives the same bytes.
function(usbpush_gzip source result)
	get_filename_component(name ${source} NAME)
	add_custom_command(OUTPUT ${result} COMMAND gzip -9nc ${source} > ${result} DEPENDS ${source}
		COMMENT "Compressing ${name}" VERBATIM)
endfunction()

# usbpush_package_side(SIDE PACKAGE UNITS...)
function(usbpush_package_side side package)
	set(systemd ${CMAKE_SOURCE_DIR}/systemd)
	foreach(unit IN LISTS ARGN)
		install(FILES ${systemd}/${unit} DESTINATION lib/systemd/system COMPONENT ${side})
	endforeach()
	# Merged /usr: Debian 12 reads both places, Debian 13 wants nothing in /lib.
	foreach(kind IN ITEMS sysusers tmpfiles modules-load)
		if(EXISTS ${systemd}/${package}.${kind})
			install(FILES ${systemd}/${package}.${kind} DESTINATION lib/${kind}.d RENAME ${package}.conf COMPONENT ${side})
		endif()
	endforeach()
	# 91: after all rules that set what ours take back.
	install(FILES ${CMAKE_SOURCE_DIR}/udev/${package}.rules DESTINATION lib/udev/rules.d RENAME 91-${package}.rules COMPONENT ${side})
	if(EXISTS ${systemd}/${package}.sshd.conf)
		install(FILES ${systemd}/${package}.sshd.conf DESTINATION share/usbpush RENAME sshd.conf COMPONENT ${side})
	endif()
	if(EXISTS ${systemd}/${package}.limits.conf)
		install(FILES ${systemd}/${package}.limits.conf DESTINATION share/usbpush RENAME limits.conf COMPONENT ${side})
	endif()
	install(FILES ${CMAKE_SOURCE_DIR}/packaging/${side}/lintian-overrides DESTINATION share/lintian/overrides RENAME ${package}
		COMPONENT ${side})
	file(GLOB completions CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/packaging/${side}/*.completion)
	foreach(completion IN LISTS completions)
		get_filename_component(name ${completion} NAME_WE) # bash-completion finds it by the command's name
		install(FILES ${completion} DESTINATION share/bash-completion/completions RENAME ${name} COMPONENT ${side})
	endforeach()
	file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/packaging/${side}/*.example)
	install(FILES ${examples} DESTINATION share/usbpush COMPONENT ${side})

	set(outputs "")
	file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${side}/*.[158])
	if(side STREQUAL "pi")
		file(GLOB portal_pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/portal/*.[158])
		list(APPEND pages ${portal_pages})
	endif()
	foreach(page IN LISTS pages)
		get_filename_component(name ${page} NAME)
		string(REGEX MATCH "[158]$" section ${name})
		usbpush_gzip(${page} ${generated}/${name}.gz)
		list(APPEND outputs ${generated}/${name}.gz)
		install(FILES ${generated}/${name}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${side})
	endforeach()

	configure_file(${CMAKE_SOURCE_DIR}/packaging/changelog.in ${generated}/${side}/changelog @ONLY)
	usbpush_gzip(${generated}/${side}/changelog ${generated}/${side}/changelog.gz)
	list(APPEND outputs ${generated}/${side}/changelog.gz)
	install(FILES ${generated}/${side}/changelog.gz ${CMAKE_SOURCE_DIR}/packaging/copyright
		DESTINATION share/doc/${package} COMPONENT ${side})
	add_custom_target(${package}-files ALL DEPENDS ${outputs})

	set(scripts "")
	set(common ${CMAKE_SOURCE_DIR}/packaging/common.sh)
	file(READ ${common} common_text)
	foreach(script IN ITEMS postinst prerm postrm)
		set(source ${CMAKE_SOURCE_DIR}/packaging/${side}/${script})
		set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source} ${common})
		file(READ ${source} text)
		# A maintainer script is one file: what it sources in the tree becomes a part of it.
		string(REPLACE "# shellcheck source=packaging/common.sh\n. packaging/common.sh\n" "\n${common_text}" text "${text}")
		file(CONFIGURE OUTPUT ${generated}/${side}/${script} CONTENT "${text}" @ONLY NEWLINE_STYLE UNIX)
		file(CHMOD ${generated}/${side}/${script} PERMISSIONS
			OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
		list(APPEND scripts ${generated}/${side}/${script})
	endforeach()
	string(TOUPPER ${side} upper)
	set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${package} PARENT_SCOPE)
	set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${scripts}" PARENT_SCOPE)
	set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_STRICT_PERMISSION ON PARENT_SCOPE)
	set(CPACK_DEBIAN_${upper}_PACKAGE_SHLIBDEPS ON PARENT_SCOPE)
endfunction()

usbpush_package_side(pi usbpush-pi usbpush-exporter.service usbpush-portal.service)
usbpush_package_side(vm usbpush-vm usbpush-handler.service usbpush-boot-attach.service usbpush-unpair.path usbpush-unpair.service
	usbpush-sleep.service)

# On both machines: usbpush-mdns.
usbpush_gzip(${CMAKE_SOURCE_DIR}/mdns/usbpush-mdns.8 ${generated}/usbpush-mdns.8.gz)
add_custom_target(usbpush-mdns-files ALL DEPENDS ${generated}/usbpush-mdns.8.gz)
foreach(side IN ITEMS pi vm)
	install(FILES ${generated}/usbpush-mdns.8.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT ${side})
	install(FILES ${CMAKE_SOURCE_DIR}/systemd/usbpush-mdns.${side}.service DESTINATION lib/systemd/system
		RENAME usbpush-mdns.service COMPONENT ${side})
	install(FILES ${CMAKE_SOURCE_DIR}/systemd/usbpush-mdns.sysusers DESTINATION lib/sysusers.d RENAME usbpush-mdns.conf COMPONENT ${side})
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME usbpush)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The usbpush authors <usbpush@example.org>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL pi vm)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
	OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
if(USBPUSH_DEBIAN_ARCH) # cross-built; else it is this machine's
	set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${USBPUSH_DEBIAN_ARCH})
	# dpkg-shlibdeps looks for the libraries of this one, too.
	file(WRITE ${generated}/cross.cmake "set(ENV{DEB_HOST_ARCH} ${USBPUSH_DEBIAN_ARCH})\n")
	set(CPACK_PROJECT_CONFIG_FILE ${generated}/cross.cmake)
endif()

# One machine is the one or the other: /etc/usbpush, /run/usbpush and /var/lib/usbpush mean different things on the two.
set(CPACK_DEBIAN_PI_PACKAGE_DEPENDS "kmod, systemd, udev")
set(CPACK_DEBIAN_PI_PACKAGE_CONFLICTS usbpush-vm)
set(CPACK_DEBIAN_PI_PACKAGE_RECOMMENDS avahi-daemon)
set(CPACK_DEBIAN_VM_PACKAGE_DEPENDS "kmod, openssh-server, passwd, systemd, udev")
set(CPACK_DEBIAN_VM_PACKAGE_CONFLICTS usbpush-pi)
set(CPACK_DEBIAN_VM_PACKAGE_RECOMMENDS "avahi-daemon, libnss-mdns")

set(CPACK_COMPONENT_PI_DESCRIPTION "USB devices of this Raspberry Pi for a VM, over SSH
Plug a USB serial device into this machine, and within a second it is a
normal /dev/ttyUSB0 on a VM elsewhere. It stays one through reboots, cut
cables and firmware flashes, with nothing but SSH between the two.

This package is for the machine with the USB sockets. The VM gets
usbpush-vm.")
set(CPACK_COMPONENT_VM_DESCRIPTION "USB devices of a Raspberry Pi as local ones, over SSH
A USB serial device that is plugged into a Raspberry Pi is a normal
/dev/ttyUSB0 on this machine within a second. It stays one through reboots,
cut cables and firmware flashes, with nothing but SSH between the two.

This package is for the machine that gets the devices. The Pi gets
usbpush-pi.")

include(CPack)
