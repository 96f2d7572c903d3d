# shellcheck shell=bash
#
# Copyright (C) the ngx_gcs_proxy_module authors
#
# A part of build.sh: which lines of the module the tests run, in nginx and in
# the unit tests of layer 0.  A process writes its counters when it ends by
# itself; of one that a test kills they are lost.

# the unit tests compile with "gcc", those that they run with sanitizers: let
# it count there
make_counting_gcc() {
    mkdir -p "$OUT/bin"
    cat > "$OUT/bin/gcc" << END
#!/bin/sh
case "\$*" in
    *-fsanitize=*)  set -- "\$@" --coverage -O0 ;;
esac
exec $(command -v gcc) "\$@"
END
    chmod 755 "$OUT/bin/gcc"
}

make_gcovr() {
    "$BUILD/venv/bin/python" -c 'import gcovr' 2> /dev/null \
    || "$BUILD/venv/bin/python" -m pip install --quiet \
        --disable-pip-version-check 'gcovr~=8.3' \
    || die "pip cannot install gcovr, see above"
}

run_coverage() {
    local code

    # shellcheck disable=SC2034 # read by build.sh
    VARIANT=coverage
    prepare_tests
    make_gcovr
    make_counting_gcc
    find "$OUT" -name '*.gcda' -delete

    # gcov's own names are in the module then
    code=0
    PATH=$OUT/bin:$PATH GCS_FUZZ_SECONDS=0 "${PYTEST[@]}" \
        --basetemp="$OUT/tests" -o tmp_path_retention_policy=all \
        --deselect test_style.py::test_module_defines_no_foreign_name \
        "${@:-t}" < /dev/null > "$OUT/pytest.log" 2>&1 || code=$?

    say "== coverage"
    "$BUILD/venv/bin/gcovr" --root "$ROOT" \
        --filter "$ROOT/ngx_gcs_proxy_module/" \
        --gcov-ignore-errors=source_not_found \
        --json "$OUT/coverage.json" --txt - --html-details "$OUT/index.html" \
        "$OUT/nginx/objs" "$OUT/tests" || code=1

    # some tests alone leave out whatever the others run
    say "== what no test runs"
    python3 "$ROOT/t/matrix/uncovered.py" ${1:+--part} "$OUT/coverage.json" \
    || code=1

    say "== each line: $OUT/index.html"
    tail -n 3 "$OUT/pytest.log"
    return $code
}
