# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# limits.conf, as the checks read it. Sourced.

# Rows of limits.conf for a kernel whose "what" matches: "what<TAB>says".
limits_of() {
  rows_of limits.conf | awk -v kernel="$1" -v pattern="$2" '
    index("," $1 ",", "," kernel ",") && $2 ~ pattern { print $2 "\t" $3 }'
}

# compare_limits KERNEL LIMITS FOUND: both "what<TAB>text" lines; what does not work here is neither more nor less than the limits.
# The table has _ where a name has a space.
compare_limits() {
  local what text problem=''
  local -A found=()
  while IFS=$'\t' read -r what text; do [[ -z $what ]] || found[${what// /_}]=$text; done <<< "$3"
  while IFS=$'\t' read -r what text; do
    [[ -n $what ]] || continue
    if [[ -z ${found[$what]+there} ]]; then
      problem="limits.conf says that $1 lacks $what, but it works there: take the row out"
    elif ! grep -qE "${text//_/[_ ]}" <<< "${found[$what]}"; then
      problem="$what on $1 should say '$text', it says: ${found[$what]}"
    else
      echo "as limits.conf says: $what: ${found[$what]}"
    fi
    unset "found[$what]"
    [[ -z $problem ]] || die "$problem"
  done <<< "$2"
  for what in "${!found[@]}"; do
    die "$what does not work on $1 and limits.conf does not say so: ${found[$what]}"
  done
}
