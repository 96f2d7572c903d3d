# shellcheck shell=bash
#
# Copyright (C) the ngx_gcs_proxy_module authors
#
# A part of build.sh: the tests in other releases of Debian, each with its own
# nginx, libraries, compiler and Python, and here with another compiler.
#
# A root is a folder made by debootstrap, in which "build.sh test" is run as a
# user of that release would run it, on a copy of the sources.  Its mounts are
# in a mount namespace and vanish with the last process in it: nothing has to
# be undone, and nothing here can be deleted through them.

ROOTS=${GCS_ROOTS:-$BUILD/roots}
SUITES="trixie forky"
COPY=/home/matrix

# where this machine takes Debian from, if nobody says
mirror() {
    # shellcheck disable=SC2016 # apt's own variable
    say "${GCS_MIRROR:-$(
        apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        | grep '/debian/\?$' | head -n 1)}"
}

missing_to_make_roots() {
    command -v debootstrap > /dev/null || echo debootstrap
    command -v unshare > /dev/null     || echo util-linux
}

# deletes what is in a folder, but never what somebody has mounted there
delete() {
    if grep -qF -e " $1 " -e " $1/" /proc/self/mountinfo; then
        die "something is mounted in $1, unmount it first"
    fi

    rm -rf --one-file-system "$1"
}

make_root() {
    local from new script

    if [ -d "$ROOTS/$1" ]; then
        return
    fi

    from=$(mirror) || true
    [ -n "$from" ] || die "no mirror of Debian is known here, set GCS_MIRROR"

    say "making $ROOTS/$1"
    new=$ROOTS/$1.new
    delete "$new"

    # to an older debootstrap a newer release has no name
    script=/usr/share/debootstrap/scripts/$1
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid

    debootstrap --variant=minbase "$1" "$new" "$from" "$script" \
        > "$ROOTS/$1.log" 2>&1 < /dev/null || {
        tail -n 5 "$ROOTS/$1.log" >&2
        die "debootstrap failed, see $ROOTS/$1.log"
    }

    # no service is started in there
    printf '#!/bin/sh\nexit 101\n' > "$new/usr/sbin/policy-rc.d"
    chmod 755 "$new/usr/sbin/policy-rc.d"

    # a mirror may lag behind; the signatures are checked all the same
    echo 'Acquire::Check-Valid-Until "false";' \
        > "$new/etc/apt/apt.conf.d/90gcs"
    mv "$new" "$ROOTS/$1"
}

# in_root ROOT COMMAND...: with nothing of this environment but what says how
# to reach the network, and what to do in the tests
in_root() {
    local name root settings

    root=$1
    shift
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    settings=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
              HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
              GCS_LABEL_STUDIO=0 GCS_PROMTOOL=0)

    for name in CI GCS_BROWSER GCS_FUZZ_SECONDS TERM http_proxy https_proxy \
                no_proxy PIP_INDEX_URL PIP_DEFAULT_TIMEOUT
    do
        [ -z "${!name:-}" ] || settings+=("$name=${!name}")
    done

    if [ -f "${PIP_CERT:-}" ]; then
        cp "$PIP_CERT" "$root/etc/pip-cert.pem"
        settings+=(PIP_CERT=/etc/pip-cert.pem)
    fi

    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --propagation private sh -ec '
        root=$1
        shift
        # what is mounted is what a process in there may exchange itself
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" "$@"
    ' sh "$root" env -i "${settings[@]}" "$@"
}

copy_sources() {
    local entry

    mkdir -p "$1$COPY/build"

    # what was built there, and the packages of PyPI, may stay
    for entry in "$1$COPY"/* "$1$COPY"/.[!.]*; do
        case ${entry##*/} in
            build)  ;;
            *)      delete "$entry" ;;
        esac
    done

    tar -C "${ROOT:?}" --exclude=./build --exclude=./.git --exclude=__pycache__ \
        --exclude=.pytest_cache -cf - . \
    | tar -C "$1$COPY" --no-same-owner -xf -
}

# build_in_root SUITE COMMAND...: what "./build.sh COMMAND..." does there
build_in_root() {
    local suite

    suite=$1
    shift

    # shellcheck disable=SC2016 # for the inner shell
    in_root "$ROOTS/$suite" sh -ec 'cd "$0"; exec ./build.sh "$@"' $COPY "$@"
}

# all that needs the network: the tests can be run with this done
prepare_root() {
    [ "$(id -u)" = 0 ] || die "the matrix needs root, for chroot"
    require missing_to_make_roots install
    unshare --mount true || die "no right to make a mount namespace"
    mkdir -p "$ROOTS"
    ROOTS=$(cd "$ROOTS" && pwd)

    make_root "$1"
    in_root "$ROOTS/$1" true || die "$ROOTS/$1 cannot be entered"
    copy_sources "$ROOTS/$1"
    build_in_root "$1" prepare || die "$ROOTS/$1 lacks what the tests need"
}

test_with_clang() {
    # shellcheck disable=SC2034 # read by build.sh
    CC=clang
    prepare
    mkdir -p "$BUILD/clang"
    BUILD=$(cd "$BUILD/clang" && pwd)
    [ -e "$BUILD/venv" ] || ln -sfn ../venv "$BUILD/venv"

    prepare_tests

    # they are errors, unless somebody has switched that off
    if grep -n 'warning:' "$WORK/make.log"; then
        die "clang warns, see $WORK/make.log"
    fi

    "${PYTEST[@]}" "${@:-t}" < /dev/null
}

run_matrix() {
    local failed one start

    case ${1:-} in
    clang)
        shift
        test_with_clang "$@" ;;

    trixie | forky)
        prepare_root "$1"
        one=$1
        shift
        build_in_root "$one" test "$@" ;;

    roots)
        shift
        # shellcheck disable=SC2086 # a list
        [ $# != 0 ] || set -- $SUITES

        for one; do
            prepare_root "$one"
        done ;;

    *)
        [ "${1:-}" != all ] || shift
        failed=

        for one in clang $SUITES; do
            start=$SECONDS
            say
            say "== matrix: $one"

            # a process for each, so that nothing ends the others
            "$ROOT/build.sh" matrix "$one" "$@" || failed="$failed $one"
            say "== $one: $((SECONDS - start)) s"
        done

        [ -z "$failed" ] || die "the tests failed with:$failed" ;;
    esac
}
