#!/usr/bin/env bash
#
# Copyright (C) the ngx_gcs_proxy_module authors
#
# Builds, installs, shows and tests the module; "./build.sh help" tells how.

set -euo pipefail

ROOT=$(cd "$(dirname "$0")" && pwd)
MODULE=ngx_http_gcs_proxy_module.so
BUILD=${BUILD_DIR:-$ROOT/build}
DEBIAN_SRC=/usr/share/nginx/src
MIN_NGINX=1.22.0
TMP_POLICY=

usage() {
    cat << 'END'
usage: ./build.sh [COMMAND]

    build              builds build/ngx_http_gcs_proxy_module.so (default)
    install            builds, and copies it into nginx's module folder
    demo [--check]     builds, and shows it at work on a sample bucket of
                       its own; installs what is missing (Debian packages)
    test [ARGS]        builds, and runs the tests; ARGS go to pytest;
                       installs what is missing
    prepare            installs what the tests need, and does no more
    sanitize [ARGS]    the same with a module that has ASan and UBSan
    valgrind [all] [ARGS]
                       the same, with every nginx under valgrind; without
                       ARGS a selection that takes some minutes, with "all"
                       whatever can be tested so, which takes many hours,
                       with "all --cases 1" the first case of each test
    coverage [ARGS]    the same, and a table of what the tests have run
    bench [ARGS]       builds, and compares the module with nginx's own
                       proxy (docs/performance.md); --quick: does it run
    matrix [WHERE] [ARGS]
                       the same in roots of Debian trixie and forky, and
                       here with clang; WHERE is one of the three (default:
                       all), or "roots", which makes and prepares them only;
                       needs root
    help               this text

environment:
    NGINX_SRC=PATH     nginx sources to build against
                       (default: those of the package nginx-dev)
    NGINX=PATH         the nginx binary (default: the one in $PATH)
    MODULES_PATH=PATH  where install copies to (default: ask nginx)
    CC, CFLAGS, LDFLAGS, BUILD_DIR
    SANITIZE=1         builds with ASan and UBSan into build/sanitize
                       (so does the option --sanitize)
    GCS_FUZZ_SECONDS=N how long each fuzz target runs (default: 5)
    GCS_BROWSER=0      test without a browser, and install none
    GCS_LABEL_STUDIO=0 test without a Label Studio, and install none (1 GB)
    GCS_PROMTOOL=0     test without promtool, and fetch none (20 MB)
    GCS_LABEL_STUDIO_VENV=PATH
                       the virtual environment of one that is installed
                       (default: build/label-studio-venv, made if needed)
    GCS_ROOTS=PATH     where matrix makes its roots (default: build/roots)
    GCS_MIRROR=URL     where it takes Debian from
END
}

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

cleanup() {
    if [ -n "$TMP_POLICY" ]; then
        as_root rm -f "$TMP_POLICY"
        TMP_POLICY=
    fi
}

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM


# packages

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_install() {
    command -v apt-get > /dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null
}

# no word of apt-get's when all goes well, all of them when something fails
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
        -o Dpkg::Use-Pty=0 "$@" > "$BUILD/apt.log" 2>&1 < /dev/null \
    || {
        cat "$BUILD/apt.log" >&2
        die "apt-get $1 failed, see above"
    }
}

# The nginx of Debian starts as a service when it is installed; whoever wants
# to look at a demo has not asked for that.
hold_services() {
    if [ -z "$TMP_POLICY" ] && [ ! -e /usr/sbin/policy-rc.d ]; then
        TMP_POLICY=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$TMP_POLICY" > /dev/null
        as_root chmod 755 "$TMP_POLICY"
    fi
}

install_packages() {
    say "installing: $*"
    mkdir -p "$BUILD"
    hold_services
    apt update
    apt install --yes --no-install-recommends "$@"
    cleanup
}

has_header() {
    # shellcheck disable=SC2086 # CC and CPPFLAGS may have arguments
    printf '%s\n' '#define PCRE2_CODE_UNIT_WIDTH 8' "#include <$1>" \
    | $CC $CPPFLAGS -E - > /dev/null 2>&1
}

has_python() {
    "$1" -c "import $2" > /dev/null 2>&1
}

# prints the packages that building needs and the machine lacks
missing_to_build() {
    if [ -z "${NGINX_SRC:-}" ] && [ ! -x "$DEBIAN_SRC/configure" ]; then
        echo nginx-dev
    fi

    command -v make > /dev/null || echo make

    # shellcheck disable=SC2086 # CC may have arguments
    set -- $CC
    if ! command -v "$1" > /dev/null; then
        case $1 in
            cc|gcc)  echo gcc libc6-dev ;;
            clang*)  echo "$1" libc6-dev ;;
            *)       die "no compiler \"$1\", set CC" ;;
        esac

        # nothing is known about headers without a compiler: all that
        # are there already are skipped by apt-get
        echo libcurl4-openssl-dev libjansson-dev libssl-dev libpcre2-dev \
             zlib1g-dev
        return
    fi

    has_header stdlib.h         || echo libc6-dev
    has_header curl/curl.h      || echo libcurl4-openssl-dev
    has_header jansson.h        || echo libjansson-dev
    has_header openssl/evp.h    || echo libssl-dev
    has_header pcre2.h          || echo libpcre2-dev
    has_header zlib.h           || echo zlib1g-dev
}

missing_to_demo() {
    missing_to_build
    find_nginx                  || echo nginx
    find_python                 || echo python3 python3-cryptography
    command -v curl > /dev/null || echo curl
    command -v ffmpeg > /dev/null || echo ffmpeg
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

missing_to_bench() {
    missing_to_demo
    command -v wrk > /dev/null  || echo wrk
}

missing_to_test() {
    missing_to_demo
    command -v wget > /dev/null || echo wget
    command -v nm > /dev/null   || echo binutils
    command -v shellcheck > /dev/null || echo shellcheck
    command -v strace > /dev/null || echo strace
    command -v wrk > /dev/null  || echo wrk

    if [ -z "${NGINX:-}" ] && find_nginx \
       && [ ! -e "$(modules_path)/ngx_http_image_filter_module.so" ]
    then
        echo libnginx-mod-http-image-filter
    fi

    if ! find_venv_python; then
        echo python3 python3-venv
    fi

    if [ "${GCS_BROWSER:-}" != 0 ]; then
        command -v chromium > /dev/null || echo chromium
    fi

    # the fuzz targets need clang and its fuzzer's runtime, which Debian
    # names after clang's version
    if [ "${GCS_FUZZ_SECONDS:-}" = 0 ]; then
        return
    elif ! command -v clang > /dev/null; then
        echo clang
    elif ! ls "$(clang -print-resource-dir)"/lib/*/libclang_rt.fuzzer*.a \
           > /dev/null 2>&1
    then
        echo "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
    fi
}

# require FUNCTION [install]: what FUNCTION misses is installed, or named
require() {
    local packages round

    for round in 1 2 3; do
        packages=$("$1" | tr '\n' ' ' | sed 's/ *$//') || exit 1

        if [ -z "$packages" ]; then
            return
        fi

        if [ "${2:-}" != install ] || [ "$round" = 3 ] || ! can_install; then
            die "missing: $packages; install with:" \
                "apt-get install --no-install-recommends $packages"
        fi

        # shellcheck disable=SC2086 # a list
        install_packages $packages
    done
}


# nginx

find_nginx() {
    if [ -n "${NGINX:-}" ]; then
        [ -x "$NGINX" ] || die "NGINX: no program \"$NGINX\""
        return
    fi

    NGINX_BIN=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx)
}

nginx_bin() {
    if [ -n "${NGINX:-}" ]; then
        say "$NGINX"
    else
        find_nginx && say "$NGINX_BIN"
    fi
}

# to nginx itself NGINX in the environment means the sockets of an upgrade
run_nginx() {
    env -u NGINX "$(nginx_bin)" "$@"
}

nginx_version() {
    run_nginx -v 2>&1 | sed -n 's|^nginx version: [^/]*/\([0-9.]*\).*|\1|p'
}

source_version() {
    sed -n 's/^#define NGINX_VERSION  *"\(.*\)"/\1/p' "$1/src/core/nginx.h"
}

modules_path() {
    local args path prefix

    if [ -n "${MODULES_PATH:-}" ]; then
        say "$MODULES_PATH"
        return
    fi

    args=$(run_nginx -V 2>&1)
    path=$(say "$args" | sed -n "s/.*--modules-path=\([^ ']*\).*/\1/p")

    if [ -z "$path" ]; then
        prefix=$(say "$args" | sed -n "s/.*--prefix=\([^ ']*\).*/\1/p")
        path=${prefix:-/usr/local/nginx}/modules
    fi

    say "$path"
}

check_source() {
    SRC=${NGINX_SRC:-$DEBIAN_SRC}

    if [ -f "$SRC/auto/configure" ]; then
        CONFIGURE=auto/configure
    else
        CONFIGURE=configure
    fi

    if [ ! -f "$SRC/$CONFIGURE" ] || [ ! -f "$SRC/src/core/nginx.h" ]; then
        die "NGINX_SRC: no nginx sources in \"$SRC\"; unset it and" \
            "\"apt-get install nginx-dev\", or unpack a release of nginx.org"
    fi

    SRC=$(cd "$SRC" && pwd)
    VERSION=$(source_version "$SRC")

    if [ "$(printf '%s\n' "$VERSION" $MIN_NGINX | sort -V | head -n 1)" \
         != $MIN_NGINX ]
    then
        die "nginx $VERSION is too old, $MIN_NGINX or newer is required"
    fi
}

# check_nginx [must]: would the nginx that is there load what is built here?
check_nginx() {
    local there

    if ! find_nginx; then
        [ -z "${1:-}" ] || die "no nginx; install with: apt-get install nginx"
        return 1
    fi

    there=$(nginx_version)

    if [ "$there" = "$VERSION" ]; then
        return
    fi

    if [ -n "${1:-}" ] || [ -z "${NGINX_SRC:-}" ]; then
        die "nginx $there is installed, the sources in $SRC are of $VERSION:" \
            "install the nginx-dev of your nginx, or set NGINX_SRC to the" \
            "sources of nginx $there"
    fi

    say "note: the nginx installed here is $there and will not load it"
    return 1
}


# building

# the flags that nginx itself was configured with, as far as they change what
# a module sees
configure_flags() {
    FLAGS=(--with-compat --with-http_ssl_module --with-http_v2_module
           --with-http_slice_module --with-http_realip_module
           --with-http_auth_request_module --with-threads --with-debug)

    if [ -f "$SRC/conf_flags" ]; then
        # Debian's own, for the paths; a flag that is there twice does no harm
        # shellcheck disable=SC1091
        . "$SRC/conf_flags"
        FLAGS=("${NGX_CONF_FLAGS[@]}" "${FLAGS[@]}")
    fi

    ADDON=gcs

    case $VARIANT in
    sanitize)
        CFLAGS=${CFLAGS:--O1 -g}
        CFLAGS="$CFLAGS -fsanitize=address,undefined -fno-omit-frame-pointer"
        CFLAGS="$CFLAGS -fno-sanitize=nonnull-attribute"
        LDFLAGS="${LDFLAGS:-} -fsanitize=address,undefined" ;;

    coverage)
        CFLAGS="${CFLAGS:-} -O0 -g --coverage"
        LDFLAGS="${LDFLAGS:-} --coverage"
        ADDON=$ROOT ;;
    esac

    CFLAGS=${CFLAGS:--O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
-Wformat -Werror=format-security}

    # the name of this folder is no business of whoever gets the module
    CFLAGS="$CFLAGS $CPPFLAGS -fPIC -ffile-prefix-map='$WORK'=."
    LDFLAGS="${LDFLAGS:-} -fPIC -Wl,-z,relro -Wl,-z,now"
}

# nginx's configure writes into the folder it is run in: give it one of ours,
# so that the sources may be read-only and shared
link_sources() {
    local file

    rm -rf "$WORK"
    mkdir -p "$WORK"

    for file in "$SRC"/*; do
        case ${file##*/} in
            Makefile | objs) ;;
            *)  ln -s "$file" "$WORK/" ;;
        esac
    done

    ln -s "$ROOT" "$WORK/gcs"
}

configure() {
    local stamp

    stamp=$({
        say "$SRC" "$VERSION" "$CC" "$CFLAGS" "$LDFLAGS" "$ROOT" "$ADDON" \
            "${FLAGS[@]}"
        cat "$ROOT/config" "$SRC/auto/module" "$SRC/auto/make"
    } | cksum)

    if [ -f "$WORK/stamp" ] && [ "$(cat "$WORK/stamp")" = "$stamp" ]; then
        return
    fi

    say "configuring for nginx $VERSION"
    link_sources

    (
        cd "$WORK"
        unset CFLAGS CPPFLAGS LDFLAGS
        "./$CONFIGURE" "${FLAGS[@]}" --builddir=objs --with-cc="$CC" \
            --with-cc-opt="$1" --with-ld-opt="$2" \
            --add-dynamic-module="$ADDON"
    ) > "$WORK/configure.log" 2>&1 < /dev/null || {
        sed -n 's/^.*configure: error: /build.sh: /p' \
            "$WORK/configure.log" >&2
        die "nginx's configure failed, see $WORK/configure.log"
    }

    say "$stamp" > "$WORK/stamp"
}

compile() {
    local jobs

    jobs=$(nproc 2> /dev/null || echo 1)

    make -C "$WORK" -f objs/Makefile -j "$jobs" "objs/$MODULE" \
        > "$WORK/make.log" 2>&1 < /dev/null || {
        grep -E -A 4 'error: |undefined reference|multiple definition|No rule' \
            "$WORK/make.log" >&2 \
        || cat "$WORK/make.log" >&2
        die "the compiler failed, see $WORK/make.log"
    }

    # a running nginx keeps the file that it has mapped
    if ! cmp -s "$WORK/objs/$MODULE" "$OUT/$MODULE"; then
        cp "$WORK/objs/$MODULE" "$OUT/$MODULE.new"
        mv -f "$OUT/$MODULE.new" "$OUT/$MODULE"
    fi
}

# what the module was made with, in one line
versions() {
    local file

    file=$WORK/versions.h
    cat > "$file" << 'END'
#include <curl/curlver.h>
#include <jansson.h>
#include <openssl/opensslv.h>
#ifdef __clang__
versions clang __clang_major__ . __clang_minor__
#else
versions gcc __GNUC__ . __GNUC_MINOR__
#endif
, curl LIBCURL_VERSION, OpenSSL OPENSSL_VERSION_STR, jansson JANSSON_VERSION
END

    # shellcheck disable=SC2086 # CC and CPPFLAGS may have arguments
    $CC $CPPFLAGS -E -P -x c "$file" 2> /dev/null | tr '\n' ' ' \
    | sed "s/.*versions /nginx $VERSION, /; s/\"//g; s/ \([,.]\) */\1/g
           s/,\([^ ]\)/, \1/g; s/ *\$//"
    say
}

# loads the module into the nginx that is there
smoke() {
    local conf output

    conf=$WORK/smoke.conf
    cat > "$conf" << END
load_module $OUT/$MODULE;
pid $WORK/smoke.pid;
events { }
END

    output=$(run_nginx -t -q -e stderr -p "$WORK" -c "$conf" 2>&1) || {
        say "$output" >&2
        die "nginx $VERSION does not load the module: see the line above"
    }
}

build() {
    OUT=$BUILD${VARIANT:+/$VARIANT}
    mkdir -p "$OUT"
    OUT=$(cd "$OUT" && pwd)
    WORK=$OUT/nginx

    case $OUT in
        *[[:space:]\;\{\}\'\"]*)
            die "the path \"$OUT\" cannot be written in nginx.conf: build in" \
                "a folder without blanks and quotes, or set BUILD_DIR" ;;
    esac

    check_source
    check_nginx > "$OUT/note" && LOADS=yes || LOADS=

    (
        # two builds at a time would write the same files
        flock 9
        configure_flags
        configure "$CFLAGS" "$LDFLAGS"
        compile
    ) 9> "$OUT/.lock"

    if [ -n "$LOADS" ] && [ "$VARIANT" != sanitize ]; then
        smoke
    fi
}

build_and_tell() {
    build
    say "built: $OUT/$MODULE, for nginx $VERSION"
    cat "$OUT/note"
    cat << END

Add to nginx.conf, at the top:

    load_module $OUT/$MODULE;

and in a server, for a public bucket (a private one: see README.md):

    location /media/ { gcs_pass gs://my-bucket/; gcs_auth anonymous; }
END
}

install_module() {
    local dir

    build
    [ -n "${MODULES_PATH:-}" ] || check_nginx must
    dir=${DESTDIR:-}$(modules_path)

    if ! mkdir -p "$dir" 2> /dev/null || [ ! -w "$dir" ]; then
        die "no permission to write to $dir; run: sudo $0 install"
    fi

    # never write into the file that a running nginx has mapped
    install -m 644 "$OUT/$MODULE" "$dir/$MODULE.new"
    mv -f "$dir/$MODULE.new" "$dir/$MODULE"

    say "installed: $dir/$MODULE"
    say "Add to nginx.conf, at the top:"
    say "    load_module $(modules_path)/$MODULE;"
}


# demo, bench and tests

# a Python that can run the emulator
find_python() {
    local python

    for python in "${PYTHON:-}" "$BUILD/venv/bin/python" python3 \
                  /usr/bin/python3
    do
        if [ -n "$python" ] && has_python "$python" cryptography; then
            PYTHON_BIN=$python
            return
        fi
    done

    return 1
}

# a Python that can make a virtual environment
find_venv_python() {
    local python

    for python in "${PYTHON:-}" python3 /usr/bin/python3; do
        if [ -n "$python" ] && has_python "$python" ensurepip,venv; then
            VENV_PYTHON=$python
            return
        fi
    done

    return 1
}

# make_venv NAME FILE...: build/NAME with the packages that the first FILE
# lists; kept until a FILE changes
make_venv() {
    local stamp venv

    venv=$BUILD/$1
    shift
    stamp=$(cat "$@" | cksum)

    if [ -f "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$stamp" ] \
       && "$venv/bin/python" -c 'import pip' 2> /dev/null
    then
        return
    fi

    say "installing the Python packages of ${1#"$ROOT"/}"
    find_venv_python || die "no Python that can make a virtual environment"
    rm -rf "$venv"
    "$VENV_PYTHON" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet \
        --disable-pip-version-check -r "$1" \
        || die "pip cannot install ${1#"$ROOT"/}, see above"
    say "$stamp" > "$venv/stamp"
}

# the Label Studio of the tests, which wants other versions than they do
make_label_studio() {
    if [ "${GCS_LABEL_STUDIO:-}" = 0 ] || [ -n "${GCS_LABEL_STUDIO_VENV:-}" ]
    then
        return
    fi

    make_venv label-studio-venv "$ROOT/t/label_studio/requirements.txt" \
        "$ROOT/t/label_studio/constraints.txt"

    GCS_LABEL_STUDIO_VENV=$(cd "$BUILD/label-studio-venv" && pwd)
    export GCS_LABEL_STUDIO_VENV
}

# promtool checks what gcs_status tells.  Debian's package also has a server
# that starts with the machine, and needs a dozen others, which nobody has
# asked for; so the one program is taken out of it.  Without it the tests that
# need it are skipped, and say so.
make_promtool() {
    local dir

    dir=$BUILD/promtool

    if [ "${GCS_PROMTOOL:-}" = 0 ] || command -v promtool > /dev/null; then
        return
    fi

    if [ ! -x "$dir/promtool" ]; then
        command -v apt-get > /dev/null || return 0

        say "fetching promtool"
        rm -rf "$dir"
        mkdir -p "$dir"

        (
            cd "$dir"
            apt-get -qq download prometheus
            dpkg-deb -x prometheus_*.deb package
            mv package/usr/bin/promtool .
            rm -rf package prometheus_*.deb
        ) > "$BUILD/apt.log" 2>&1 < /dev/null || {
            say "no promtool: $(tail -n 1 "$BUILD/apt.log")"
            return 0
        }
    fi

    PATH=$PATH:$(cd "$dir" && pwd)
    export PATH
}

demo() {
    require missing_to_demo install
    build
    check_nginx must
    find_python

    NGINX=$(nginx_bin) GCS_MODULE=$OUT/$MODULE PYTHONPATH=$ROOT/t \
        PYTHONDONTWRITEBYTECODE=1 exec "$PYTHON_BIN" -m demo "$@"
}

bench() {
    require missing_to_bench install
    build
    check_nginx must
    find_python

    # a bench.py in the folder of the caller is not meant
    cd "$ROOT/t"

    NGINX=$(nginx_bin) GCS_MODULE=$OUT/$MODULE PYTHONPATH=$ROOT/t \
        PYTHONDONTWRITEBYTECODE=1 exec "$PYTHON_BIN" -m bench "$@"
}

prepare() {
    require missing_to_test install
    make_venv venv "$ROOT/t/requirements.txt"
    make_label_studio
    make_promtool
}

# all that pytest needs; "${PYTEST[@]}" then runs it in $ROOT
prepare_tests() {
    prepare
    build
    check_nginx must

    NGINX=$(nginx_bin)
    GCS_MODULE=$OUT/$MODULE
    GCS_SANITIZE=0
    [ "$VARIANT" != sanitize ] || GCS_SANITIZE=1
    export NGINX GCS_MODULE GCS_SANITIZE

    say "== $(versions)${VARIANT:+, $VARIANT}"
    PYTEST=("$BUILD/venv/bin/python" -m pytest -c t/pytest.ini --rootdir=t)
    cd "$ROOT"
}

run_tests() {
    prepare_tests
    exec "${PYTEST[@]}" "${@:-t}" < /dev/null
}


CC=${CC:-cc}
CPPFLAGS=${CPPFLAGS:-}
VARIANT=

if [ "${1:-}" = --sanitize ]; then
    SANITIZE=1
    shift
fi

if [ "${SANITIZE:-0}" != 0 ]; then
    VARIANT=sanitize
fi

COMMAND=${1:-build}
[ $# = 0 ] || shift

case $COMMAND in
    build)      require missing_to_build; build_and_tell ;;
    install)    require missing_to_build; install_module ;;
    demo)       demo "$@" ;;
    bench)      bench "$@" ;;
    test)       run_tests "$@" ;;
    prepare)    prepare ;;
    sanitize)   VARIANT=sanitize; run_tests "$@" ;;

    matrix | valgrind | coverage)
        # shellcheck source=/dev/null
        . "$ROOT/t/matrix/$COMMAND.sh"
        "run_$COMMAND" "$@" ;;

    help | -h | --help)  usage ;;
    *)          usage >&2; exit 2 ;;
esac
