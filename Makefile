# `make` lists the targets. Everything that is installed goes into .setup/, which
# git ignores; what is there already is not fetched again.

SHELL := /bin/bash
.DEFAULT_GOAL := help

ORT_DIR := .setup/onnxruntime
LINTER := .setup/bin/golangci-lint

# Where there is a git checkout, the version is recorded in the binary.
VCS := $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 && echo true || echo false)

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## fetch ONNX Runtime and the Go modules, once; works offline afterwards
	@python3 scripts/onnxruntime/fetch.py $(ORT_DIR)
	@go mod download

.PHONY: build
build: ## build bin/distinfer
	@CGO_ENABLED=1 go build -trimpath -buildvcs=$(VCS) -ldflags='-s -w' -o bin/distinfer ./cmd/distinfer

.PHONY: demo
demo: setup build ## serve the default model in two stages on this machine, until Ctrl-C
	@bin/distinfer up models/sst2-minilm/model.onnx --stages 2 --ask 'a moving film, full of quiet humour'

.PHONY: test
test: setup build ## run all tests, with the race detector
	@scripts/test.sh

.PHONY: lint
lint: $(LINTER) ## check style, likely bugs and who imports whom
	@$(LINTER) run
	@go mod tidy -diff

$(LINTER): scripts/tools/go.mod scripts/tools/go.sum
	@echo 'building the linter (some minutes, once)'
	@go -C scripts/tools build -o ../../.setup/bin/ tool
	@touch $@

.PHONY: bench
bench: setup build ## measure accuracy, parity, start-up, memory and the parts of a request
	@scripts/bench.sh

.PHONY: conformance
conformance: setup build ## split 2,100 models of public packages and compare each with the whole (ARGS='--only lstm')
	@scripts/conformance/setup.sh
	@.setup/conformance/venv/bin/python scripts/conformance/compare.py $(ARGS)

.PHONY: bench-split
bench-split: setup build ## measure splitting beside cp and other tools, up to 2 GB (ARGS='-only sst2')
	@scripts/bench-split/setup.sh
	@go run ./bench/split $(ARGS)

.PHONY: fuzz
fuzz: setup ## fuzz every parser of untrusted input, a minute each (FUZZTIME=1m)
	@scripts/fuzz.sh

.PHONY: proto
proto: $(LINTER) ## write the Go code of the protocols again
	@scripts/proto.sh

.PHONY: clean
clean: ## remove what was built and fetched
	@rm -rf bin stages .setup
