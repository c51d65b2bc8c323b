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
help:
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: runtime ## fetch ONNX Runtime, the Go modules and what the tests need, once; works offline afterwards
	@scripts/python-env.sh interop scripts/interop/requirements.txt
	@scripts/python-env.sh clients scripts/clients/requirements.txt
	@scripts/python-env.sh oip/tritonclient scripts/oip/tritonclient.txt
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

# RUN=TestThePage tests the page in a browser alone (DISTINFER_TEST_SHOTS=DIR for pictures).
.PHONY: test
test: setup build ## run all tests, with the race detector where there are goroutines, or those that RUN matches
	@$(if $(RUN),go test -race -run '$(RUN)' ./...,scripts/test.sh)

.PHONY: lint
lint: $(LINTER) ## check style, likely bugs, who imports whom, and the queries of deploy/
	@$(LINTER) run
	@go mod tidy -diff
	@go -C scripts/promql run . ../../deploy

$(LINTER): scripts/tools/go.mod scripts/tools/go.sum
	@echo 'building the linter (some minutes, once)'
	@go -C scripts/tools build -o ../../.setup/bin/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint google.golang.org/protobuf/cmd/protoc-gen-go
	@touch $@

$(TOXIPROXY): scripts/tools/go.mod scripts/tools/go.sum
	@echo 'building toxiproxy (once)'
	@go -C scripts/tools build -o ../../$@ github.com/Shopify/toxiproxy/v2/cmd/server
	@touch $@

# Not `go run`, which a SIGTERM ends without the program that it runs. The tools that
# splitting is compared with pin an older onnx than the newest, so there are two sets.
# TensorFlow is large, and only of use for the model of 2018.
.PHONY: bench
bench: runtime build $(if $(filter chaos encodings scale,$(NAME)),$(TOXIPROXY)) ## measure the main figures, or NAME=overload ARGS='-factor 5' (NAME=list)
ifeq ($(NAME),peers)
	@scripts/bench-peers/setup.sh fastapi bentoml ray mlserver $(if $(findstring seed-rnn,$(ARGS)),tensorflow)
else ifeq ($(NAME),splitting)
	@scripts/python-env.sh bench-splitting/onnx scripts/bench-splitting/onnx.txt
	@scripts/python-env.sh bench-splitting/tools scripts/bench-splitting/tools.txt
endif
	@go build -o .setup/bin/bench ./bench
	@exec .setup/bin/bench $(NAME) $(ARGS)

.PHONY: chaos
chaos: ## make replicas fail under load and count what is lost (ARGS='-only kill')
	@exec $(MAKE) --no-print-directory bench NAME=chaos

# KServe's SDK is large (450 MB), so it is installed when asked for; `make test` skips it without.
# It has a Python of its own: it brings the protocol's messages under the names that tritonclient has.
.PHONY: conformance
conformance: runtime build ## split 2,100 models of public packages and compare (ARGS='--only lstm'); WITH=clients, openapi, sentences or docs
ifeq ($(WITH),clients)
	@$(MAKE) --no-print-directory setup
	@scripts/python-env.sh oip/kserve scripts/oip/kserve.txt
	@set -o pipefail; go test -count=1 -v -run 'TestTritons|TestKServes' ./cmd/distinfer | grep -E '^ *(---|tritonclient|kserve|ok|FAIL|.* right$$)'
else ifeq ($(WITH),openapi)
	@$(MAKE) --no-print-directory setup
	@DISTINFER_OPENAPI_EXAMPLES=$(or $(EXAMPLES),1000) go test -count=1 -timeout 1h -run TestTheOpenAPIDocumentIsTrue ./cmd/distinfer
else ifeq ($(WITH),sentences)
	@DISTINFER_SENTENCES=all go test -count=1 -timeout 1h -run 'TestAnswers|TestPredictions|TestTheInt8' ./cmd/distinfer
else ifeq ($(WITH),docs)
	@DISTINFER_DOCS=1 go test -count=1 -v -run TestCommandsForSeveralMachinesRun ./cmd/distinfer
else
	@scripts/conformance/setup.sh
	@.setup/conformance/venv/bin/python scripts/conformance/compare.py $(ARGS)
endif

# Two Pythons over the one of scripts/task-oracle. Torch is large (5 GB, once).
.PHONY: zoo
zoo: runtime build ## compare some 350 exports of 93 architectures with Python (ARGS='--only bert', --list, --keep)
	@scripts/python-env.sh task-oracle scripts/task-oracle/requirements.txt
	@for v in 4 5; do scripts/python-env.sh zoo/transformers$$v scripts/zoo/transformers$$v.txt task-oracle || exit 1; done
	@.setup/zoo/transformers5/bin/python scripts/zoo/zoo.py $(ARGS)

.PHONY: tokenizers
tokenizers: ## compare tokenizers of public packages with Hugging Face's, on 34,000 texts each, and all that is committed
	@scripts/tokenizer-oracle/real.sh

# Programs of Kubernetes are built once (ten minutes of two processors), into .setup/kubernetes.
.PHONY: test-kubernetes
test-kubernetes: runtime build ## install the chart on a Kubernetes of its own and disturb it under load (ARGS='-only kill'); root
	@exec scripts/kubernetes/test.sh $(ARGS)

.PHONY: fuzz
fuzz: runtime ## fuzz every parser of untrusted input, a minute each (FUZZTIME=1m)
	@scripts/fuzz.sh

# Writes the Go code of the protocols again.
.PHONY: proto
proto: $(LINTER)
	@scripts/proto.sh

# ARCH=amd64 makes those of one architecture. ARGS='-only image -local' makes the image alone, with
# this machine's C compiler. WITH=deb and so on tries what was made, as scripts/dist/checks say.
.PHONY: dist
dist: ## make the release in dist/ for amd64 and arm64; WITH=reproducible, wheel, deb, image, compose or arm64 tries it
ifdef WITH
	@for check in $(WITH); do scripts/dist/checks/$$check.sh || exit 1; done
else
	@$(MAKE) --no-print-directory runtime
	@scripts/python-env.sh dist scripts/dist/requirements.txt
	@GOTOOLCHAIN=go1.26.8 go -C scripts/dist run . $(if $(ARCH),-arch $(ARCH)) $(ARGS)
endif

.PHONY: clean
clean: ## remove what was built and fetched
	@rm -rf bin dist stages .setup
