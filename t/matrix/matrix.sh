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
    if [ -n "${GCS_MIRROR:-}" ]; then
        echo "$GCS_MIRROR"
        return
    fi

    # shellcheck disable=SC2016 # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        | grep '/debian/\?$' | head -n 1
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
    local new script

    if [ -d "$ROOTS/$1" ]; then
        return
    fi

    say "making $ROOTS/$1"
    new=$ROOTS/$1.new
    delete "$new"

    # to an older debootstrap a newer release has no name
    script=/usr/share/debootstrap/scripts/$1
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid

    debootstrap --variant=minbase "$1" "$new" "$(mirror)" "$script" \
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
              HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1)

    for name in CI GCS_FUZZ_SECONDS TERM http_proxy https_proxy no_proxy \
                PIP_INDEX_URL PIP_DEFAULT_TIMEOUT
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

test_in_root() {
    local suite

    suite=$1
    shift
    make_root "$suite"
    copy_sources "$ROOTS/$suite"

    # shellcheck disable=SC2016 # for the inner shell
    in_root "$ROOTS/$suite" sh -ec 'cd "$0"; exec ./build.sh test "$@"' \
        $COPY "$@"
}

test_with_clang() (
    # shellcheck disable=SC2034 # read by build.sh
    CC=clang
    require missing_to_test install
    make_venv
    mkdir -p "$BUILD/clang"
    BUILD=$(cd "$BUILD/clang" && pwd)
    [ -e "$BUILD/venv" ] || ln -sfn ../venv "$BUILD/venv"

    prepare_tests

    # they are errors, unless somebody has switched that off
    if grep -n 'warning:' "$WORK/make.log"; then
        die "clang warns, see $WORK/make.log"
    fi

    "${PYTEST[@]}" "${@:-t}" < /dev/null
)

run_matrix() {
    local failed one start where

    where=all
    case ${1:-} in
        all | clang | trixie | forky | roots)  where=$1; shift ;;
    esac

    [ "$where" != all ] || where="clang $SUITES"

    if [ "$where" != clang ]; then
        [ "$(id -u)" = 0 ] || die "the matrix needs root, for chroot"
        require missing_to_make_roots install
        unshare --mount true || die "no right to make a mount namespace"
        mkdir -p "$ROOTS"
        ROOTS=$(cd "$ROOTS" && pwd)
    fi

    # only what the tests below need, and whether it can be entered
    if [ "$where" = roots ]; then
        for one in $SUITES; do
            make_root "$one"
            in_root "$ROOTS/$one" true || die "$ROOTS/$one cannot be entered"
        done
        return
    fi

    failed=
    for one in $where; do
        start=$SECONDS
        say
        say "== matrix: $one"

        case $one in
            clang)  test_with_clang "$@" || failed="$failed $one" ;;
            *)      test_in_root "$one" "$@" || failed="$failed $one" ;;
        esac

        say "== $one: $((SECONDS - start)) s"
    done

    [ -z "$failed" ] || die "the tests failed with:$failed"
}
