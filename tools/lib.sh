# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tools share: progress lines, one clear line on failure, installing what is missing, building. Sourced.

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_dir=${TIDEMARK_BUILD_DIR:-$root_dir/build}
log_file=
current_step="starting"

progress() {
  current_step=$*
  printf '==> %s\n' "$*" >&2
}

# The one line, and the end. It says what failed and what to do.
die() {
  trap - ERR
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Called by the trap of a script: whatever fails without a word of its own.
on_error() {
  local hint="see the lines above"
  if [[ -s $log_file ]]; then
    tail -n 15 "$log_file" >&2
    hint="the whole output is in $log_file"
  fi
  die "failed while: $current_step ($hint)"
}

fail_with_one_line() {
  set -E
  trap on_error ERR
}

# Runs a command whose output matters only when it fails.
quietly() {
  mkdir -p "$build_dir"
  log_file=$build_dir/${0##*/}.log
  "$@" > "$log_file" 2>&1
}

packages_of() {
  local group
  for group in "$@"; do
    awk -v group="$group" '$1 == group { print $2 }' "$root_dir/tools/packages.txt"
  done
}

is_installed() {
  # A virtual package (pkg-config, once pkgconf takes its place) counts when something provides it.
  [[ $(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2> /dev/null) == installed ]]
}

# Another build of nginx serves as well: the tests want the program, not the package.
is_there_otherwise() {
  case $1 in
    nginx-light) command -v nginx > /dev/null ;;
    *) return 1 ;;
  esac
}

# install_missing GROUP...: asks the network only where something is missing.
install_missing() {
  local package
  local -a missing=()
  if ! command -v dpkg-query > /dev/null; then
    progress "no dpkg here: install by hand what tools/packages.txt lists"
    return
  fi
  for package in $(packages_of "$@"); do
    is_installed "$package" || is_there_otherwise "$package" || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then
    progress "packages: all there"
    return
  fi
  ((EUID == 0)) || die "missing packages: ${missing[*]}; run this as root, or apt-get install them"
  progress "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get update -q
  # policy-rc.d: a package's service is not to be started on the machine of somebody who runs our tests.
  quietly without_services apt-get install -qy --no-install-recommends "${missing[@]}"
}

without_services() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [[ -e $policy ]]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  "$@" || status=$?
  rm -f "$policy"
  return $status
}

configure() {
  progress "building in ${build_dir#"$root_dir"/} (some minutes the first time)"
  quietly cmake -G Ninja -S "$root_dir" -B "$build_dir" "$@"
}

# build [CMAKE OPTION...]: everything, the tests too.
build() {
  configure "$@"
  quietly cmake --build "$build_dir"
}

# build_only TARGET...
build_only() {
  configure
  quietly cmake --build "$build_dir" --target "$@"
}

# What tracing needs of a machine, one clear line for what is not there.
require_tracing() {
  ((EUID == 0)) || die "tracing needs root: run this as root (sudo ${0##*/})"
  [[ -r /sys/kernel/btf/vmlinux ]] ||
    die "this kernel has no BTF (/sys/kernel/btf/vmlinux): use one built with CONFIG_DEBUG_INFO_BTF, as Debian's are"
  [[ -e /proc/sys/kernel/unprivileged_bpf_disabled ]] ||
    die "this kernel has no BPF system call: use one built with CONFIG_BPF_SYSCALL, as Debian's are"
}

# What a measured figure was measured on.
machine_json() {
  jq -n --arg kernel "$(uname -r)" --arg glibc "$(getconf GNU_LIBC_VERSION)" --arg date "$(date -u +%FT%TZ)" \
    --arg cpu "$(awk -F': ' '/^(model name|CPU part)/ { print $2; exit }' /proc/cpuinfo)" \
    --arg load "$(cut -d' ' -f1-3 /proc/loadavg)" \
    --argjson cores "$(nproc)" --arg version "$("$build_dir/bin/tidemark" --version)" \
    '{kernel: $kernel, cpu: $cpu, cores: $cores, glibc: $glibc, date: $date, load_average: $load, tidemark: $version}'
}

# start_tracer ERRORS OPTION...: sets tracer_pid, and returns when the trace counts.
start_tracer() {
  local errors=$1
  shift
  : > "$errors"
  "$build_dir/bin/tidemark" trace "$@" > /dev/null 2> "$errors" &
  tracer_pid=$!
  for ((i = 0; i < 600; ++i)); do
    if grep -qx 'tidemark: tracing' "$errors"; then return 0; fi
    kill -0 "$tracer_pid" 2> /dev/null || break
    sleep 0.05
  done
  die "the tracer does not start: $(tail -n 1 "$errors")"
}
