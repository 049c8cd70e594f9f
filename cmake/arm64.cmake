# Toolchain file: builds for Debian's arm64, which Raspberry Pi OS is, on a machine of another kind. It takes gcc-aarch64-linux-gnu and the libraries' -dev
# packages of arm64 beside this machine's (Debian's multiarch), as packaging/build-for --arch arm64 has them:
#
#   cmake --preset release --toolchain cmake/arm64.cmake -B build/arm64

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# pkg-config looks where arm64's libraries are, and nowhere else: this machine's would link no better than they run.
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)

# What the packages say they are for (cmake/Packaging.cmake).
set(USBPUSH_DEBIAN_ARCH arm64)
