# Debian packages that must be there. Sourced by pi/install, vm/install, tests/setup.

# apt_read_list FILE: the packages of a list, comments left out.
apt_read_list() {
	sed -e 's/#.*//' "$1" | xargs -n1
}

# apt_missing PACKAGE...: those that are not installed, a line each. A package that another one provides counts as installed.
apt_missing() {
	dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
		awk -v wanted="$*" '
			$1 == "installed" { gsub(/\([^)]*\)|,/, " "); for (i = 2; i <= NF; i++) there[$i] = 1 }
			END { n = split(wanted, list, " "); for (i = 1; i <= n; i++) if (!(list[i] in there)) print list[i] }'
}

# apt_install WHO PACKAGE...: installs those that are missing; says nothing and does nothing if all are there.
apt_install() {
	local who=$1 missing output
	shift
	mapfile -t missing < <(apt_missing "$@")
	if [ ${#missing[@]} -eq 0 ]; then
		return 0
	fi
	if [ "$(id -u)" -ne 0 ]; then
		printf '%s: packages are missing: %s\n%s: run it as root, or install them: apt-get install %s\n' \
			"$who" "${missing[*]}" "$who" "${missing[*]}" >&2
		return 1
	fi
	printf '%s: installing %s\n' "$who" "${missing[*]}"
	# The lists may be old or absent: they are fetched only if it does not go without.
	if apt_get install "${missing[@]}" >/dev/null 2>&1; then
		return 0
	fi
	if output=$({ apt_get update && apt_get install "${missing[@]}"; } 2>&1); then
		return 0
	fi
	tail -n 15 <<<"$output" >&2
	printf '%s: apt-get could not install %s. Is this machine online, and are its package sources right?\n' \
		"$who" "${missing[*]}" >&2
	return 1
}

apt_get() {
	local verb=$1
	shift
	# stdin: a question of a package must not wait for ever.
	DEBIAN_FRONTEND=noninteractive apt-get -q -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$verb" "$@" </dev/null
}
