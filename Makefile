# Two commands from nothing, on Debian or Ubuntu, as root or with sudo:
#   make demo    see an agent destroy a project in a machine, and get it back
#   make test    everything that is checked, on real machines too
# Both install what they need and say so; run again, they skip what is done.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
PREFIX ?= $(HOME)/.local
DESTDIR ?=

.PHONY: help demo test check unit e2e install bench bench-vault bench-share guards fuzz soak fmt lint deny setup clean-demo

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: setup ## The main job, from nothing: run, destroy, undo, compare
	$(CARGO) build --locked --release --workspace --bins
	scripts/demo

test: ## Formatting, lints, all tests, and the scenarios on real machines
	scripts/test

check: lint ## The quick part of `make test`: no machine is booted
	scripts/test --quick

setup: ## Install what building and running needs
	scripts/setup-host

install: setup ## Build and install ringfence and ringfenced below PREFIX (~/.local)
	$(CARGO) build --locked --release --workspace --bins
	install -D -m 0755 -t "$(DESTDIR)$(PREFIX)/bin" "$$(scripts/target-directory)"/release/{ringfence,ringfenced}
	@[ -n "$(DESTDIR)" ] || echo "A daemon that runs is of the old version until: ringfence daemon restart. Kept running by systemd: ringfence daemon install"

e2e: ## The scenarios on real machines alone; E2E_ONLY=10,20 picks some
	$(CARGO) build --locked --workspace --all-targets
	e2e/run

bench: setup ## Benchmarks: ratios against the bare tools, in one run
	$(CARGO) build --locked --release --workspace --bins
	bench/run

bench-vault: setup ## The vault against restic, borg, rsync and git, in one run
	scripts/setup-host --bench
	$(CARGO) build --locked --release -p ringfence-vault --example vault-bench
	bench/vault

bench-share: setup ## The guarded share against the stock virtiofsd, in one machine
	scripts/setup-host --bench
	$(CARGO) build --locked --release --workspace --bins
	bench/share

guards: ## Each guard taken out: its test must turn red; ARGS picks some
	$(CARGO) xtask guards $(ARGS)

fuzz: ## Requests that no kernel sends, at the share: RINGFENCE_FUZZ_SECONDS each
	scripts/fuzz

soak: ## The long forms of the tests, the guards, the fuzzers
	RINGFENCE_SOAK=1 scripts/test
	$(CARGO) xtask guards
	scripts/fuzz

fmt: ## Format the sources
	$(CARGO) fmt --all

lint: ## Formatting, clippy, shellcheck, tidy
	scripts/lint

deny: ## Licences, sources and advisories of the dependencies
	scripts/deny

clean-demo: ## Remove what `make demo` left
	scripts/demo --clean
