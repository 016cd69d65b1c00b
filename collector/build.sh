#!/bin/sh
# Builds collector/out/otelcol-llm from collector/manifest.yaml and validates every configuration that we ship.
#
#   collector/build.sh               build if anything changed, then validate
#   collector/build.sh --no-validate build if anything changed
#
# GO names the go command (default: go, else /usr/local/go/bin/go). The builder is installed, pinned, into
# ${XDG_CACHE_HOME:-~/.cache}/otel-llm/bin. A first build takes minutes and half a gigabyte of module cache; a build of
# the same manifest and sources is skipped by the hash in out/otelcol-llm.hash. Diagnostics go to stderr.
set -eu

BUILDER_VERSION=v0.161.0
here=$(cd "$(dirname "$0")" && pwd)
out=$here/out
binary=$out/otelcol-llm
tools=${XDG_CACHE_HOME:-$HOME/.cache}/otel-llm/bin
builder=$tools/builder-$BUILDER_VERSION

say() { echo "build.sh: $*" >&2; }

find_go() {
    go=${GO:-$(command -v go || echo /usr/local/go/bin/go)}
    if ! "$go" version >/dev/null 2>&1; then
        say "Go is missing: '$go' cannot be run. Install Go 1.26 or newer (https://go.dev/dl), or name it in GO."
        exit 3
    fi
    PATH=$(dirname "$go"):$PATH
}

install_builder() {
    [ -x "$builder" ] && return
    say "installing the builder $BUILDER_VERSION into $tools"
    mkdir -p "$tools"
    GOBIN=$tools "$go" install "go.opentelemetry.io/collector/cmd/builder@$BUILDER_VERSION" >&2
    mv "$tools/builder" "$builder"
}

# All that the binary is made of: this script, the manifest, and the sources of our own modules without their tests.
hash_sources() {
    cd "$here"
    { echo build.sh; echo manifest.yaml
      find opikexporter queueguard secretsprocessor -type f \( -name '*.go' -o -name go.mod -o -name go.sum \) ! -name '*_test.go' | LC_ALL=C sort
    } | while read -r file; do sha256sum "$file"; done | sha256sum | cut -d' ' -f1
}

build() {
    mkdir -p "$out"
    exec 9>"$out/lock"
    flock 9 2>/dev/null || say "no flock here: do not build twice at once" # test runners have several processes
    wanted=$(hash_sources)
    if [ -x "$binary" ] && [ "$(cat "$binary.hash" 2>/dev/null)" = "$wanted" ]; then
        say "$binary is up to date"
        return
    fi
    find_go
    install_builder
    mkdir -p "$out/src"
    cd "$here"
    # The sums of the last good build: what the proxy serves today must be what it served then.
    if [ -f go.sum ] && [ ! -f "$out/src/go.sum" ]; then cp go.sum "$out/src/go.sum"; fi
    say "building $binary (minutes, if nothing is cached)"
    "$builder" --config manifest.yaml >"$out/build.log" 2>&1 || {
        say "the build failed; the end of $out/build.log:"
        tail -20 "$out/build.log" >&2
        exit 1
    }
    mv "$out/src/otelcol-llm" "$binary"
    cp "$out/src/go.sum" go.sum
    echo "$wanted" >"$binary.hash"
    say "built $binary"
}

# Stand-ins for what a configuration takes from the environment; validation connects to nothing.
validate() {
    failed=0
    for file in "$here"/../otel-collector.yaml "$here"/profiles/*.yaml; do
        [ -f "$file" ] || continue
        OPIK_URL=http://127.0.0.1:8080 OPIK_API_KEY=unset OTLP_TOKEN=unset OTLP_BACKEND=http://127.0.0.1:4318 \
            OTELCOL_STATE=$out/state "$binary" validate --config "$file" >"$out/validate.log" 2>&1 || {
            say "$file is not valid:"
            cat "$out/validate.log" >&2
            failed=1
        }
    done
    [ "$failed" = 0 ] && say "all configurations are valid"
    return "$failed"
}

build
[ "${1:-}" = --no-validate ] || validate
