# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the scripts of the matrix share: where things are, and reading the tables. Sourced.
# TIDEMARK_BUILD_DIR: the build whose programs go into the guest. TIDEMARK_VM_CACHE: where fetched kernels stay.

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/lib.sh
source "$vm_dir/../../tools/lib.sh"
fail_with_one_line

# shellcheck disable=SC2034
cache_dir=${TIDEMARK_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemark}/vm
# shellcheck disable=SC2034
vm_build_dir=$build_dir/vm

# Rows of a table without its comments.
rows_of() {
  grep -vE '^[[:space:]]*(#|$)' "$vm_dir/$1"
}

kernel_names() {
  rows_of kernels.conf | awk '{ print $1 }'
}

# kernel_field NAME COLUMN
kernel_field() {
  local value
  value=$(rows_of kernels.conf | awk -v name="$1" -v column="$2" '$1 == name { print $column }')
  [[ -n $value ]] || die "no kernel $1 in tests/vm/kernels.conf; there are: $(kernel_names | xargs)"
  printf '%s\n' "$value"
}

# case_field CASE COLUMN: of cases.conf, the first row that matches (a row may be a pattern).
case_field() {
  local pattern rest
  while read -r pattern rest; do
    # shellcheck disable=SC2053
    [[ $1 == $pattern ]] || continue
    awk -v column="$2" '{ print $column }' <<< "$pattern $rest"
    return
  done < <(rows_of cases.conf)
  die "no case $1 in tests/vm/cases.conf"
}

need_program() {
  command -v "$1" > /dev/null || die "$1 is not here: apt-get install $2 (group vm of tools/packages.txt)"
}
