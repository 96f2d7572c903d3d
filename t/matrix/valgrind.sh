# shellcheck shell=bash
#
# Copyright (C) the ngx_gcs_proxy_module authors
#
# A part of build.sh: the tests with every nginx, master and workers, under
# valgrind's memcheck.  Whatever it reports fails the test.

# The life of tokens, of fetches and of requests, but not those tests that
# measure time or give libcurl too little of it: nginx is ten times slower here.
VALGRIND_FILES="t/test_harness.py t/test_http.py t/test_token.py
                t/test_fetch.py t/test_methods.py"
VALGRIND_NOT="ahead_of_their_expiry or refresh_is_not_waited_for
              or used_until_it_expires or share_the_back_off or waits_too_long
              or takes_over or endpoint_hangs or revoked_token
              or what_is_no_token or leave_no_sockets or freezes_nobody
              or addresses_that_refuse or another_ca or speaks_no_tls
              or disturbs_no_other or runs_on_after_the_first
              or disturb_a_fast_end or faults_leave_nothing
              or takes_the_request_to_gcs_with_it or miss_waits_no_longer
              or two_hundred_locations_start"

# what has no nginx, or another one than the fixture's, or measures
VALGRIND_NEVER="bench build docs emulator emulator_wire load style unit \
label_studio_contract"

valgrind_all() {
    local file name

    for file in t/test_*.py; do
        name=${file#t/test_}

        case " $VALGRIND_NEVER " in
            *" ${name%.py} "*)  ;;
            *)                  say "$file" ;;
        esac
    done
}

missing_to_valgrind() {
    missing_to_test
    command -v valgrind > /dev/null || echo valgrind
}

run_valgrind() {
    require missing_to_valgrind install
    prepare_tests

    if [ "${1:-all}" = all ]; then
        [ $# = 0 ] || VALGRIND_FILES=$(valgrind_all)

        # shellcheck disable=SC2086 # a list
        set -- $VALGRIND_FILES "${@:2}" -k "not ($(tr -s '\n ' '  ' \
                                         <<< "$VALGRIND_NOT"))"
    fi

    GCS_VALGRIND=$ROOT/t/valgrind.supp \
        exec "${PYTEST[@]}" -o timeout=900 "$@" < /dev/null
}
