# Everything that is built, generated and proven here. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The steps of a target share two caches and the processors: one after another is fastest.
.NOTPARALLEL:

# The folder in which `make run` keeps its data.
DATA_DIR ?= .standalone
# The image of the operator that docker-build makes and deploy uses.
IMG ?= mollymawk-operator:latest
# The kustomization that build-installer and deploy use: config/namespaced for a few namespaces only.
CONFIG ?= config/default
# How long each fuzz target runs.
FUZZTIME ?= 30s
# The benchmarks that run.
BENCH ?= .
KUBECTL ?= kubectl
CONTAINER_TOOL ?= docker

# One set of build flags for all that is compiled without the race detector, so that Kubernetes is compiled once. Without
# -buildvcs=false a build fails in a folder that belongs to another user.
ORIGINAL_GOFLAGS := $(shell go env GOFLAGS)
RACE_GOFLAGS := $(strip $(filter-out -buildvcs=%,$(ORIGINAL_GOFLAGS)) -buildvcs=false)
export GOFLAGS := $(strip $(filter-out -trimpath,$(RACE_GOFLAGS)) -trimpath)
export CGO_ENABLED := 0
# With -trimpath a test does not know where its source is.
export ALBATROSS_VECTORS ?= $(CURDIR)/albatross/testdata/vectors

# The race detector needs a C compiler.
RACE := $(if $(shell command -v "$$(go env CC)" 2>/dev/null),-race)

TOOL := go tool -modfile=$(CURDIR)/hack/tools/go.mod

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*##"; print "Usage: make TARGET [VARIABLE=value]"} \
		/^[a-z0-9-]+:.*##/ {printf "  %-18s %s\n", $$1, $$2} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

.PHONY: clean
clean: ## Remove what was built. The data of `make run` stays.
	rm -rf bin dist

##@ Try it

.PHONY: run
run: bin/standalone ## Run the operator, a control plane and a simulated host, with samples. DATA_DIR=folder keeps the data elsewhere.
	@exec bin/standalone --demo --data-dir "$(DATA_DIR)"

##@ Development

.PHONY: generate
generate: ## Generate the DeepCopy methods of the kinds.
	$(TOOL) controller-gen object paths=./api/...

.PHONY: manifests
manifests: ## Generate the CustomResourceDefinitions and the operator's role.
	$(TOOL) controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=manager-role paths=./controllers/... output:rbac:dir=config/rbac

.PHONY: released-crds
released-crds: ## Keep the CustomResourceDefinitions as those of a release, which later ones must not break.
	cp config/crd/bases/*.yaml config/crd/released/

.PHONY: fmt
fmt: ## Format the code and order its imports.
	$(TOOL) golangci-lint fmt ./...
	cd standalone && $(TOOL) golangci-lint fmt ./...

.PHONY: tidy
tidy: ## Tidy the go.mod files of all modules.
	go mod tidy
	cd standalone && go mod tidy
	cd hack/tools && go mod tidy

.PHONY: vet
vet: ## Run go vet.
	go vet ./...
	cd standalone && go vet ./...

.PHONY: lint
lint: ## Run golangci-lint.
	$(TOOL) golangci-lint run --allow-parallel-runners ./...
	cd standalone && $(TOOL) golangci-lint run --allow-parallel-runners ./...

.PHONY: lint-fix
lint-fix: ## Run golangci-lint and let it mend what it can.
	$(TOOL) golangci-lint run --allow-parallel-runners --fix ./...
	cd standalone && $(TOOL) golangci-lint run --allow-parallel-runners --fix ./...

.PHONY: verify
verify: ## Check formatting, generated files, go.mod, vet and lint, and say what mends what is wrong.
	@hack/verify.sh

##@ Tests

.PHONY: test
test: test-race test-standalone test-e2e test-fuzz ## Run all tests.
	@printf '\n==> All tests passed.\n'

.PHONY: test-fuzz
test-fuzz: ## Run each fuzz target for FUZZTIME (30s).
	@echo; echo '==> Fuzz targets, $(FUZZTIME) each'
	@FUZZTIME=$(FUZZTIME) hack/fuzz.sh

.PHONY: fuzz
fuzz: test-fuzz ## The same; FUZZTIME=10m for a long run.

.PHONY: test-race
test-race: bin/standalone ## Run unit tests, vectors and integration tests of the main module with the race detector.
	@echo; echo '==> Unit, vector and integration tests$(if $(RACE), with the race detector,: no C compiler, so without the race detector)'
	@packages=$$(go list ./... | grep -v /test/e2e); \
		CGO_ENABLED=$(if $(RACE),1,0) GOFLAGS="$(if $(RACE),$(RACE_GOFLAGS),$(GOFLAGS))" go test $(RACE) -timeout 20m $$packages

.PHONY: test-standalone
test-standalone: ## Run the tests of the module standalone.
	@echo; echo '==> Tests of the control plane (module standalone)'
	@cd standalone && go test -timeout 20m ./...

.PHONY: test-e2e
test-e2e: bin/standalone ## Run the demonstration as a user would, also on a real host when ALBATROSS_ADDR and the others are set.
	@echo; echo '==> End to end: the demonstration'
	@MOLLYMAWK_STANDALONE_BIN=$(CURDIR)/bin/standalone go test -count=1 -timeout 15m $$(go list ./test/e2e/... | grep -v /panel$$)
	@echo; echo '==> End to end: the Panel API, against its facts, its clients and its document'
	@cd test/e2e/panel && MOLLYMAWK_STANDALONE_BIN=$(CURDIR)/bin/standalone go test -count=1 -timeout 15m
	@MOLLYMAWK_TEST_STANDALONE=$(CURDIR)/bin/standalone go test -count=1 -v -run '^(TestDocumented|TestRecorded)$$' ./internal/httpapi/mollymawk ./test/httpapi | \
		grep -E '^(documented|recordings|FAIL)'

.PHONY: contract
contract: ## Run the client's contract and the recorded behaviour, on a real host when ALBATROSS_ADDR and the others are set.
	@echo; echo '==> Contract of the client on $(or $(ALBATROSS_ADDR),the simulated host)'
	@go test -count=1 -v -timeout 30m -run '^TestContract$$' ./albatross
	@echo; echo '==> Recorded behaviour on $(or $(ALBATROSS_ADDR),the simulated host)'
	@go test -count=1 -v -timeout 30m -run '^TestBehaviour$$' ./albatross/albatrosstest

.PHONY: bench
bench: bin/manager ## Run the benchmarks, some of which take minutes. BENCH=regexp chooses among them.
	@packages=$$(git ls-files --cached --others --exclude-standard -- '*_test.go' ':!standalone' | \
			xargs grep -l '^func Benchmark' | xargs -n 1 dirname | sort -u | sed 's|^|./|'); \
		MOLLYMAWK_MANAGER_BIN=$(CURDIR)/bin/manager go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m $$packages

##@ Build

.PHONY: build
build: bin/manager bin/albatross-sim bin/standalone ## Build all programs into bin/.

# Go itself knows what is up to date.
.PHONY: FORCE
FORCE:

bin/standalone: FORCE
	@hack/with-progress.sh $@ standalone/build.sh $@ -v

bin/manager: FORCE
	go build -ldflags '-s -w' -o $@ ./cmd/manager

bin/albatross-sim: FORCE
	go build -ldflags '-s -w' -o $@ ./cmd/albatross-sim

.PHONY: docker-build
docker-build: ## Build the operator's container image IMG.
	$(CONTAINER_TOOL) build -t $(IMG) .

.PHONY: docker-push
docker-push: ## Push the operator's container image IMG.
	$(CONTAINER_TOOL) push $(IMG)

# The overlay says which image to run; config stays as it is.
.PHONY: dist/kustomization.yaml
dist/kustomization.yaml:
	@mkdir -p dist
	@image='$(IMG)'; tag="$${image##*:}"; name="$${image%:*}"; \
		if [[ "$$image" != *:* || "$$tag" == */* ]]; then name="$$image"; tag=latest; fi; \
		printf 'resources:\n- ../$(CONFIG)\nimages:\n- name: mollymawk-operator\n  newName: %s\n  newTag: "%s"\n' "$$name" "$$tag" > $@

.PHONY: build-installer
build-installer: dist/kustomization.yaml ## Write dist/install.yaml: all that a cluster needs, with the image IMG.
	$(TOOL) kustomize build dist > dist/install.yaml

##@ Cluster (that of the current kubeconfig)

.PHONY: install
install: ## Install the CustomResourceDefinitions.
	$(TOOL) kustomize build config/crd | $(KUBECTL) apply -f -

.PHONY: uninstall
uninstall: ## Remove the CustomResourceDefinitions and with them all objects of these kinds.
	$(TOOL) kustomize build config/crd | $(KUBECTL) delete --ignore-not-found -f -

.PHONY: deploy
deploy: build-installer ## Install everything and run the operator with the image IMG.
	$(KUBECTL) apply -f dist/install.yaml

.PHONY: undeploy
undeploy: build-installer ## Remove the operator, the CustomResourceDefinitions and all objects of these kinds.
	$(KUBECTL) delete --ignore-not-found -f dist/install.yaml
