# make           what can be made
# A fresh Debian with Rust is enough, and nobody needs root, though `make test` installs more when it is root; what compares with other
# programs says what else it needs.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
target  := $(or $(CARGO_BUILD_TARGET),$(shell rustc --print host-tuple))
release := target/$(target)/release/ketch

help:
	@echo 'make build      the static release binary: $(release)'
	@echo 'make test       every test, as an ordinary user; ARGS="--test run volume" narrows it'
	@echo 'make test-release  the release binary: that it runs, and its size'
	@echo 'make check      format, lints, documentation of private items'
	@echo 'make failpoints every point of failure in the store × kill, EIO, ENOSPC'
	@echo 'make fuzz       the pure parsers against random bytes, MINUTES=10 for so long each; where cargo-fuzz is, with it for a minute each, too'
	@echo 'make fuzz-guided  the same guided by coverage, for MINUTES each (1), with the stable compiler; its build takes long'
	@echo 'make check-fuzz the targets of fuzz/, type-checked'
	@echo 'make bench      ketch beside podman in one run, written to BENCH.md (root; needs ../shared/tools/peer)'
	@echo 'make bench-net  its networks beside pasta and slirp4netns, the same'
	@echo 'make peer-test  the same command lines, archives and builds with ketch and podman (root; needs ../shared/tools/peer)'
	@echo 'make vm-test    networks, limits, services, reboots, power cuts in a real machine (needs ../shared/tools/vm); ARGS="cgroups" narrows it'
	@echo 'make arm64-test  ketch for arm64, in an emulated machine (root; debootstrap fetches a Debian sid)'
	@echo 'make install    to $$(DESTDIR)$$(PREFIX) ($(PREFIX)): binary, man pages, completions'

# With the nightly compiler and cargo-fuzz: each target for a minute. The stable part is in `make test`, too.
fuzz:
	$(if $(MINUTES),KETCH_FUZZ_SECONDS=$$(($(MINUTES) * 60))) $(CARGO) test --lib fuzzing -- --nocapture
	@if $(CARGO) +nightly fuzz --version > /dev/null 2>&1; then for target in fuzz/fuzz_targets/*.rs; do \
		target=$${target##*/}; $(CARGO) +nightly fuzz run --target $(target) "$${target%.rs}" -- -max_total_time=60 || exit; done; \
	else echo 'fuzz: cargo-fuzz and the nightly compiler are not installed: ran the stable part only'; fi

# Every point of failure × {kill, EIO, ENOSPC}: a build of its own.
failpoints:
	tests/setup --features failpoints --test failpoints $(ARGS)

build:
	$(CARGO) build --release

test:
	tests/setup $(ARGS)

# The release binary itself: it runs, stays within 12 MB, and its errors are errors.
test-release: build
	tests/release $(release)

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items

# Guided by coverage with the stable compiler: rustc's own pass for it (sanitizer coverage), libFuzzer from crates.io, a corpus in fuzz/corpus.
SANCOV = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Coverflow-checks
fuzz-guided:
	RUSTFLAGS="$(SANCOV) -Ccodegen-units=16" $(CARGO) build --manifest-path fuzz/Cargo.toml --release --target $(target) --config profile.release.opt-level=1
	@for name in fuzz/fuzz_targets/*.rs; do name=$${name##*/}; name=$${name%.rs}; mkdir -p "fuzz/corpus/$$name"; \
		"fuzz/target/$(target)/release/$$name" -max_total_time=$$(($(or $(MINUTES),1) * 60)) -max_len=4096 "fuzz/corpus/$$name" || exit; done

# The targets of fuzz/ against the parsers as they are now. libFuzzer itself, which is C++, is neither built nor linked for that.
check-fuzz:
	@if $(CARGO) fetch -q --target $(target) --manifest-path fuzz/Cargo.toml; then \
		CUSTOM_LIBFUZZER_PATH=$(CURDIR)/target/libfuzzer.a $(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir target; \
	else echo 'check-fuzz: libfuzzer-sys cannot be fetched: left out'; fi

peer-test: build
	tests/peer/run $(release) $(ARGS)
	tests/peer-images $(release) ../shared/tools/peer
	tests/peer-builds $(release) ../shared/tools/peer

vm-test:
	tests/vm $(ARGS)

arm64-test:
	tests/arm64

bench: build
	KETCH=$(release) bench/run

bench-net: build
	KETCH=$(release) bench/net

install: build
	install -D -m 755 $(release) $(DESTDIR)$(PREFIX)/bin/ketch
	for page in man/*.1; do [ ! -e "$$page" ] || install -D -m 644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man1/$${page##*/}" || exit; done
	[ ! -e completions/ketch.bash ] || install -D -m 644 completions/ketch.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ketch
	[ ! -e completions/_ketch ] || install -D -m 644 completions/_ketch $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ketch
	[ ! -e completions/ketch.fish ] || install -D -m 644 completions/ketch.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ketch.fish

.PHONY: help failpoints fuzz fuzz-guided build test test-release check check-fuzz peer-test vm-test arm64-test bench bench-net install
