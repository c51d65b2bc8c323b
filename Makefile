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

.PHONY: test
test: setup build ## run all tests, with the race detector
	@scripts/test.sh

.PHONY: test-web
test-web: runtime ## run the tests of the page in a browser alone (DISTINFER_TEST_SHOTS=DIR for pictures)
	@scripts/web/setup.sh
	@go test -race -run TestThePage ./cmd/distinfer

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

.PHONY: bench
bench: runtime build ## measure accuracy, start-up, memory, what stages cost, and the parts of a request
	@scripts/bench.sh

.PHONY: conformance
conformance: runtime build ## split 2,100 models of public packages and compare each with the whole (ARGS='--only lstm')
	@scripts/conformance/setup.sh
	@.setup/conformance/venv/bin/python scripts/conformance/compare.py $(ARGS)

# KServe's SDK is large (450 MB), so it is installed when asked for; `make test` skips it without.
# It has a Python of its own: it brings the protocol's messages under the names that tritonclient has.
.PHONY: conformance-clients
conformance-clients: setup ## ask a front with clients that are not ours: tritonclient, KServe's SDK
	@scripts/python-env.sh oip/kserve scripts/oip/kserve.txt
	@set -o pipefail; go test -count=1 -v -run 'TestTritons|TestKServes' ./cmd/distinfer | grep -E '^ *(---|tritonclient|kserve|ok|FAIL|.* right$$)'

.PHONY: tokenizers
tokenizers: ## compare tokenizers of public packages with Hugging Face's, on 34,000 texts each
	@scripts/tokenizer-oracle/real.sh

# The tools pin an older onnx than the newest, so there are two sets.
.PHONY: bench-split
bench-split: runtime build ## measure splitting beside cp and other tools, up to 2 GB (ARGS='-only sst2')
	@scripts/python-env.sh bench-split/onnx scripts/bench-split/onnx.txt
	@scripts/python-env.sh bench-split/tools scripts/bench-split/tools.txt
	@go run ./bench/split $(ARGS)

# TensorFlow is large and only of use for `-model models/seed-rnn`: it is installed when asked for.
.PHONY: bench-serve
bench-serve: runtime build ## measure serving beside FastAPI, BentoML, Ray Serve, MLServer (ARGS='-only distinfer-2')
	@scripts/bench-serve/setup.sh fastapi bentoml ray mlserver $(if $(findstring seed-rnn,$(ARGS)),tensorflow)
	@go build -o .setup/bin/bench-serve ./bench/serve
	@.setup/bin/bench-serve $(ARGS)

# Not `go run`, which a SIGTERM ends without the program that it runs; so below.
.PHONY: chaos
chaos: runtime build $(TOXIPROXY) ## make replicas fail under load and count what is lost (ARGS='-only kill')
	@go build -o .setup/bin/chaos ./bench/chaos
	@.setup/bin/chaos $(ARGS)

.PHONY: bench-hop
bench-hop: runtime ## measure a hop to a stage beside generated protobuf (ARGS='-repeats 9 -time 2s')
	@go run ./bench/hop $(ARGS)

.PHONY: bench-wire
bench-wire: runtime build $(TOXIPROXY) ## measure at which speed of a link narrow tensors pay (ARGS='-repeats 9')
	@go build -o .setup/bin/bench-wire ./bench/wire
	@.setup/bin/bench-wire $(ARGS)

.PHONY: bench-overload
bench-overload: runtime build ## measure a front that is asked ten times what it can do (ARGS='-factor 5')
	@go build -o .setup/bin/overload ./bench/overload
	@.setup/bin/overload $(ARGS)

# Not `go run` either: its groups would be left behind.
.PHONY: bench-scale
bench-scale: runtime build $(TOXIPROXY) ## compare 1 to 6 emulated machines; needs control groups (ARGS='-repeats 5')
	@go build -o .setup/bin/scale ./bench/scale
	@.setup/bin/scale $(ARGS)

.PHONY: openapi
openapi: setup build ## try 1,000 requests of each operation of /openapi.json (EXAMPLES=100)
	@DISTINFER_OPENAPI_EXAMPLES=$(or $(EXAMPLES),1000) go test -count=1 -timeout 1h -run TestTheOpenAPIDocumentIsTrue ./cmd/distinfer

.PHONY: fuzz
fuzz: runtime ## fuzz every parser of untrusted input, a minute each (FUZZTIME=1m)
	@scripts/fuzz.sh

.PHONY: proto
proto: $(LINTER) ## write the Go code of the protocols again
	@scripts/proto.sh

.PHONY: clean
clean: ## remove what was built and fetched
	@rm -rf bin stages .setup
