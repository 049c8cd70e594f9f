"""The guests' image: a Debian root file system, its kernel and an initrd.

Made once from Debian's packages and kept under a hash of everything that made
it; built beside its final place and renamed, so that an interrupted build is
never taken for an image.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CACHE = pathlib.Path(os.environ.get("USBPUSH_LAB_CACHE", "/var/cache/usbpush-lab"))
GUEST_DIR = pathlib.Path(__file__).resolve().parent.parent / "guest"

# The Debians that a guest may be, and what is called otherwise there.
SUITES = {
    "bookworm": "libmicrohttpd12 libcurl4".split(),
    "trixie": "libmicrohttpd12t64 libcurl4t64".split(),
}
# The processors that a guest may have, and the compiler for each.
ARCHS = {"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc"}
SIZE_MB = 2048

PACKAGES = """
    systemd-sysv udev dbus kmod iproute2 iputils-ping openssh-server openssh-client avahi-daemon avahi-utils
    libnss-mdns usbip usbutils hwdata procps strace socat python3-minimal curl alsa-utils
    adduser libssh-4 libudev1 libjansson4 libkmod2 libsystemd0 libsodium23
    libavahi-client3 libavahi-common3 libcrypt1
""".split()

INITRD_MODULES = """
    virtio_pci virtio_blk virtio_net virtio_console virtio_rng ext4 crc32c_generic
""".split()

# Of drivers for hardware no guest has, those that ones for USB need.
KEPT_MODULES = ("scsi_mod", "sd_mod", "sg", "scsi_common", "mc")

# What an idle Debian does at boot or by timer, and a test bed does not need.
MASKED_UNITS = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer getty@tty1.service
    serial-getty@ttyS0.service serial-getty@ttyAMA0.service console-getty.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service systemd-networkd-wait-online.service
    systemd-timesyncd.service systemd-pstore.service systemd-random-seed.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-repart.service systemd-sysusers.service
    modprobe@loop.service modprobe@dm_mod.service
    modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service
    systemd-logind.service systemd-firstboot.service keyboard-setup.service man-db.timer logrotate.timer
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount
    dev-mqueue.mount systemd-remount-fs.service
""".split()


# Started at each boot before anything else, one process each, for nothing here.
MASKED_GENERATORS = """
    systemd-cryptsetup-generator systemd-debug-generator systemd-getty-generator systemd-gpt-auto-generator
    systemd-hibernate-resume-generator systemd-integritysetup-generator systemd-rc-local-generator
    systemd-run-generator systemd-system-update-generator systemd-sysv-generator systemd-veritysetup-generator
""".split()


class ImageError(Exception):
    """The image can't be made; the text says why and what to do."""


class Image:
    """A finished image in the cache."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.root = self.path / "root.ext4"
        self.kernel = self.path / "vmlinuz"
        self.initrd = self.path / "initrd.gz"
        self.snapshots = self.path / "snapshots"


def packages_of(suite):
    return [*PACKAGES, *SUITES[suite]]


def image_hash(suite, arch):
    parts = [suite, arch, str(SIZE_MB), *packages_of(suite), "/", *INITRD_MODULES, "/", *MASKED_UNITS]
    digest = hashlib.sha256("\n".join(parts).encode())
    sources = [pathlib.Path(__file__), *sorted(p for p in GUEST_DIR.rglob("*") if p.is_file())]
    for source in sources:
        digest.update(f"\n{source.name}\n".encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def find_image(suite, arch="amd64"):
    """The image for this source tree if the cache has it, else None."""
    path = CACHE / image_hash(suite, arch)
    return Image(path) if path.is_dir() else None


def ensure_image(suite, arch="amd64", log=lambda text: print(text, file=sys.stderr)):
    """The image, made first if need be (about a minute)."""
    with locked_cache():
        image = find_image(suite, arch)
        if image is None:
            log(f"lab: making the guests' image of Debian {suite} for {arch} (once; a minute, or some where that is emulated)")
            image = build_image(suite, arch, log)
            prune_images(keep=image.path.name)
        return image


@contextlib.contextmanager
def locked_cache():
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prune_images(keep):
    """Keeps the newest few; an older one may still be under a running lab."""
    others = [p for p in CACHE.iterdir() if (p / "root.ext4").exists() and p.name != keep]
    others.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for path in others[5:]:
        shutil.rmtree(path, ignore_errors=True)


def run(*argv, **kwargs):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    if done.returncode != 0:
        tail = done.stdout.decode(errors="replace")[-3000:]
        raise ImageError(f"lab: making the image failed at: {' '.join(map(str, argv[:4]))} ...\n{tail}\n"
                         "Mend what it names and say `lab up` again.")
    return done.stdout


def build_image(suite, arch, log):
    if os.geteuid() != 0:
        raise ImageError("lab: making the guests' image needs root. Say `sudo tests/lab/lab up`.")
    work = pathlib.Path(tempfile.mkdtemp(prefix="building.", dir=CACHE))
    try:
        root, done = work / "root", work / "image"
        done.mkdir()
        make_root(suite, arch, root, work / "packages", log)
        install_guest_files(root, arch)
        make_kernel(root, work / "packages", done)
        make_initrd(root, work / "packages", work / "initrd", done)
        log("lab: image: file system")
        run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "lab-root", "-m", "0",
            "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-d", root, done / "root.ext4", f"{SIZE_MB}M")
        final = CACHE / image_hash(suite, arch)
        os.rename(done, final)
        return Image(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def make_root(suite, arch, root, packages, log):
    log("lab: image: packages")
    packages.mkdir()
    fetch_kernel = (
        f'cd "{packages}" && '
        f'p=$(apt-cache depends linux-image-{arch} | sed -n "s/^ *Depends: *//p" | head -n1) && '
        'apt-get -o APT::Sandbox::User=root download "$p" busybox-static')
    # In mounts of its own: one that was killed leaves nothing of this machine mounted in what is removed then.
    run("unshare", "--mount", "mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={arch}",
        f"--include={','.join(packages_of(suite))}",
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        '--aptopt=Acquire::Languages "none"',
        f"--customize-hook=export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG; {fetch_kernel}",
        suite, root)


def install_guest_files(root, arch):
    for pattern in ("etc/ssh/ssh_host_*", "etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname",
                    "var/lib/apt/lists/*_Packages", "var/cache/apt/*.bin"):
        for path in root.glob(pattern):
            path.unlink()
    (root / "etc/machine-id").write_text("")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    shutil.copytree(GUEST_DIR / "files", root, dirs_exist_ok=True, symlinks=True)
    units = root / "etc/systemd/system"
    for unit in MASKED_UNITS:
        mask(units / unit)
    for generator in MASKED_GENERATORS:
        mask(root / "etc/systemd/system-generators" / generator)
    for target, unit in (("sysinit.target", "lab-agent.service"), ("multi-user.target", "lab-ready.service")):
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")
    default = units / "default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/lib/systemd/system/multi-user.target")
    compile_guest("lab-agent", ["agent.c", "frame.c", "stream.c", "port.c", "events.c"], root, arch)
    run("chroot", root, "usermod", "-p", "", "root")


def mask(link):
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/dev/null")


def compile_guest(name, sources, root, arch):
    run(ARCHS[arch], "-static", "-O2", "-Wall", "-o", root / "usr/local/sbin" / name, *[GUEST_DIR / s for s in sources])


def compiled(source, *flags, arch="amd64"):
    """A program of one C file, compiled once and kept in the cache."""
    source = pathlib.Path(source)
    program = CACHE / f"{source.stem}.{arch}.{file_hash(source)}"
    with locked_cache():
        if not program.exists():
            work = program.with_suffix(".building")
            run(ARCHS[arch], "-O2", "-Wall", *flags, "-o", work, source)
            work.rename(program)
    return program


def make_kernel(root, packages, done):
    tree = packages / "tree"
    for package in packages.glob("*.deb"):
        run("dpkg-deb", "-x", package, tree)
    image, = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(image, done / "vmlinuz")
    version = image.name.removeprefix("vmlinuz-")
    modules = root / "usr/lib/modules" / version
    modules.parent.mkdir(parents=True, exist_ok=True)
    lib = tree / "lib/modules" if (tree / "lib/modules").is_dir() else tree / "usr/lib/modules"
    source = lib / version
    for unwanted in ("drivers/gpu", "drivers/net/ethernet", "drivers/net/wireless", "drivers/media",
                     "drivers/infiniband", "drivers/ata", "drivers/watchdog", "drivers/i2c", "drivers/mfd", "arch/x86/kvm",
                     "drivers/cpufreq", "drivers/input/mouse", "drivers/md", "drivers/scsi", "drivers/iio", "drivers/staging"):
        for path in source.glob(f"kernel/{unwanted}"):
            keep_only(path, KEPT_MODULES)
    shutil.copytree(source, modules, symlinks=True)
    for link in ("build", "source"):
        (modules / link).unlink(missing_ok=True)
    packed = [str(p) for p in modules.rglob("*.ko.xz")]  # Debian 13's: unpacked once here, and not at each boot
    if packed:
        run("xz", "-d", *packed)
    for module in modules.rglob("*.ko"):
        strip_signature(module)
    run("depmod", "-b", root, version)


def strip_signature(module):
    """Debian's kernel takes modules without one, and has no RSA to compute then.

    include/linux/module_signature.h: the signature, 12 bytes that end in its
    length, and the mark.
    """
    mark = b"~Module signature appended~\n"
    data = module.read_bytes()
    if data.endswith(mark):
        length = int.from_bytes(data[-len(mark) - 4:-len(mark)], "big")
        module.write_bytes(data[:-len(mark) - 12 - length])


def keep_only(path, names):
    for module in path.rglob("*.ko*"):
        if module.name.split(".ko")[0] not in names:
            module.unlink()


def make_initrd(root, packages, tree, done):
    modules, = (root / "usr/lib/modules").iterdir()
    for name in ("bin", "proc", "sys", "dev", "root", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(next((packages / "tree").glob("**/bin/busybox")), tree / "bin/busybox")
    shutil.copy(GUEST_DIR / "init", tree / "init")
    (tree / "init").chmod(0o755)
    order = []
    for module in INITRD_MODULES:
        wanted = run("modprobe", "-d", root, "-S", modules.name, "--show-depends", module).decode()
        for line in wanted.splitlines():
            word, _, path = line.partition(" ")
            if word == "insmod" and path.split()[0] not in order:
                order.append(path.split()[0])
    for path in order:
        copy_module(pathlib.Path(path), tree / "modules")
    names = [pathlib.Path(p).name.removesuffix(".xz") for p in order]
    (tree / "modules/order").write_text("".join(f"{n}\n" for n in names))
    run("sh", "-c", f'cd "{tree}" && find . | cpio -o -H newc --quiet | gzip -1 > "{done}/initrd.gz"')


def copy_module(path, to):
    shutil.copy(path, to)
    if path.suffix == ".xz":
        run("xz", "-d", to / path.name)


def file_hash(*paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(pathlib.Path(path).read_bytes())
    return digest.hexdigest()[:16]
