# shellcheck shell=bash
#
# Copyright (C) the ngx_gcs_proxy_module authors
#
# A part of build.sh: the tests with every nginx, master and workers, under
# valgrind's memcheck.  Whatever it reports fails the test.

VALGRIND_DEFAULT=(t)

missing_to_valgrind() {
    missing_to_test
    command -v valgrind > /dev/null || echo valgrind
}

run_valgrind() {
    require missing_to_valgrind install
    prepare_tests
    [ $# -gt 0 ] || set -- "${VALGRIND_DEFAULT[@]}"

    GCS_VALGRIND=$ROOT/t/valgrind.supp \
        exec "${PYTEST[@]}" -o timeout=900 "$@" < /dev/null
}
