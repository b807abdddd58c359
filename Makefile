# make           what can be made
# Everything here works on a fresh Debian with Rust; nothing needs root, though `make test` installs more when it is root.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
target  := x86_64-unknown-linux-gnu
release := target/$(target)/release/ketch

help:
	@echo 'make build     the static release binary: $(release)'
	@echo 'make test      every test, as an ordinary user; ARGS="--test run volume" narrows it'
	@echo 'make check     format, lints, documentation of private items'
	@echo 'make bench     ketch beside podman in one run, written to BENCH.md'
	@echo 'make install   to $$(DESTDIR)$$(PREFIX) ($(PREFIX)): binary, man pages, completions'

build:
	$(CARGO) build --release

test:
	tests/setup $(ARGS)

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items

bench: build
	KETCH=$(release) bench/run

install: build
	install -D -m 755 $(release) $(DESTDIR)$(PREFIX)/bin/ketch
	for page in man/*.1; do [ ! -e "$$page" ] || install -D -m 644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man1/$${page##*/}" || exit; done
	[ ! -e completions/ketch.bash ] || install -D -m 644 completions/ketch.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ketch
	[ ! -e completions/_ketch ] || install -D -m 644 completions/_ketch $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ketch
	[ ! -e completions/ketch.fish ] || install -D -m 644 completions/ketch.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ketch.fish

.PHONY: help build test check bench install
