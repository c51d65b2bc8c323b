# `make` lists the targets. Everything that is installed goes into .setup/, which
# git ignores; what is there already is not fetched again.

SHELL := /bin/bash
.DEFAULT_GOAL := help

ORT_DIR := .setup/onnxruntime
LINTER := .setup/bin/golangci-lint
TOXIPROXY := .setup/bin/toxiproxy-server

# Where there is a git checkout, the version is recorded in the binary.
VCS := $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 && echo true || echo false)

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: runtime ## fetch ONNX Runtime, the Go modules and what the tests need, once; works offline afterwards
	@scripts/interop/setup.sh
	@scripts/clients/setup.sh
	@scripts/oip/setup.sh tritonclient
	@scripts/web/setup.sh

# What it takes to build and run; the tests need more.
.PHONY: runtime
runtime:
	@python3 scripts/onnxruntime/fetch.py $(ORT_DIR)
	@go mod download

.PHONY: build
build: ## build bin/distinfer
	@CGO_ENABLED=1 go build -trimpath -buildvcs=$(VCS) -ldflags='-s -w' -o bin/distinfer ./cmd/distinfer

.PHONY: demo
demo: runtime build ## serve the default model in two stages on this machine, until Ctrl-C
	@bin/distinfer up models/sst2-minilm/model.onnx --stages 2 --ask 'a moving film, full of quiet humour'

.PHONY: test
test: setup build ## run all tests, with the race detector
	@scripts/test.sh

.PHONY: test-web
test-web: runtime ## run the tests of the page in a browser alone (DISTINFER_TEST_SHOTS=DIR for pictures)
	@scripts/web/setup.sh
	@go test -race -run TestThePage ./cmd/distinfer

.PHONY: lint
lint: $(LINTER) ## check style, likely bugs and who imports whom
	@$(LINTER) run
	@go mod tidy -diff

$(LINTER): scripts/tools/go.mod scripts/tools/go.sum
	@echo 'building the linter (some minutes, once)'
	@go -C scripts/tools build -o ../../.setup/bin/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint google.golang.org/protobuf/cmd/protoc-gen-go
	@touch $@

$(TOXIPROXY): scripts/tools/go.mod scripts/tools/go.sum
	@echo 'building toxiproxy (once)'
	@go -C scripts/tools build -o ../../$@ github.com/Shopify/toxiproxy/v2/cmd/server
	@touch $@

.PHONY: bench
bench: runtime build ## measure accuracy, start-up, memory, what stages cost, and the parts of a request
	@scripts/bench.sh

.PHONY: conformance
conformance: runtime build ## split 2,100 models of public packages and compare each with the whole (ARGS='--only lstm')
	@scripts/conformance/setup.sh
	@.setup/conformance/venv/bin/python scripts/conformance/compare.py $(ARGS)

.PHONY: tokenizers
tokenizers: ## compare tokenizers of public packages with Hugging Face's, on 34,000 texts each
	@scripts/tokenizer-oracle/real.sh
