# Portolan. The two commands: make run, make test. `make help` lists the others.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := build
.PHONY: build run test deps lint generate race fuzz bench peers clean help

build: ## build bin/portolan and bin/portolan-bench
	$(BUILD) -o bin/ ./cmd/portolan ./cmd/portolan-bench

run: ## build, and show everything on a small office that is made up
	$(BUILD) -o bin/ ./cmd/portolan
	@bin/portolan demo

test: deps ## run every test; as root on Debian it installs the real exporters that they use
	$(GO) test -timeout 9m ./...

deps: ## install, or name, the programs that the tests use
	@.ci/deps test

lint: ## vet, staticcheck, gofmt
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "gofmt would change these files"; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./bpf ./ingest/... ./store/... ./netns
	$(GO) tool staticcheck ./...

generate: ## compile the BPF programs with the pinned clang, and IPFIX's elements from the registry
	@.ci/deps generate
	$(GO) generate ./...

race: ## run the tests of what is shared between goroutines under the race detector (needs a C compiler)
	@.ci/deps race
	CGO_ENABLED=1 $(GO) test -race -short -timeout 9m ./ingest/... ./store/... ./profiler/...

FUZZTIME ?= 30s
fuzz: ## fuzz every decoder for FUZZTIME (30s; 10000000x for as many executions)
	@for f in $$($(GO) test -list '^Fuzz' ./ingest/flow | grep ^Fuzz); do \
		$(GO) test ./ingest/flow -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime=1x || exit 1; \
	done

bench: ## run every benchmark, ready for benchstat
	$(GO) test -run '^$$' -bench . -benchmem ./...

peers: ## decode beside goflow2, six interleaved runs, ready for benchstat -col /by
	@cd bench/peers && for i in 1 2 3 4 5 6; do $(GO) test -run '^$$' -bench . -cpu 1 . || exit 1; done

clean: ## remove what was built
	rm -rf bin

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile
