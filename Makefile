# make demo   watch a stock sendmail act on milterd's word
# make test   everything that must pass, as .ci/run does
# make build  bin/milterd, static; VERSION=… is what milterd -version says
# make bench  milterd's filter door beside an empty filter on libmilter, and sendmail with
#             and without it; make benchmarks: those of the packages, with allocations
# make soak   the long forms of the tests that make test runs in short

GO ?= go
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME ?= 2000x
SOAK_TABLES ?= 1000
SOAK_FUZZTIME ?= 2m
SOAK_ATTACKS ?= 50000
SOAK_SESSIONS ?= 1000000
SOAK_FRAMES ?= 100000000
SOAK_ROUNDS ?= 2000

UNIT = $(shell $(GO) list ./... | grep -v '/integration')

.PHONY: build demo test packages lint vuln unit integration fuzz bench benchmarks soak

# The same source, VERSION and Go give the same bytes, in any directory: so nothing of
# the machine, and nothing that only git knows, goes in. Without cgo the binary is
# static, and starts in a container that holds nothing else.
VERSION := $(or $(VERSION),$(shell git describe --tags --match 'v[0-9]*' --always --dirty 2>/dev/null))

build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.release=$(VERSION)' -o bin/milterd ./cmd/milterd

demo:
	@sh integration/install-packages --try
	@$(GO) run ./integration/demo

# The two halves take about the same time: one needs sendmail, the other does not.
test: packages
	$(MAKE) --no-print-directory -j2 --output-sync=target half-checks half-sendmail
	@echo "make test: all passed"

.PHONY: half-checks half-sendmail
half-checks:
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory vuln
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory fuzz
half-sendmail:
	@$(MAKE) --no-print-directory integration

packages:
	sh integration/install-packages

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt these files:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) ./...

# The vulnerability database is on the network; where it cannot be reached that is
# said, and the build goes on.
vuln:
	@sh .ci/govulncheck $(GOVULNCHECK)

unit:
	$(GO) test -race $(UNIT)

integration:
	$(GO) test -count=1 -timeout 12m ./integration/...

fuzz:
	@sh .ci/fuzz $(FUZZTIME)

bench:
	$(GO) run ./integration/bench
	$(GO) run ./integration/bench -fields -million=false
	$(GO) test -run '^$$' -bench Doors -benchtime 3x ./integration

benchmarks:
	$(GO) test -run '^$$' -bench . -benchmem $(UNIT)

soak:
	MILTERD_TEST_TABLES=$(SOAK_TABLES) $(GO) test -count=1 -timeout 60m ./integration/rulesets
	MILTERD_TEST_SESSIONS=100000 $(GO) test -count=1 -run TestWithAllServersDead ./dnscheck
	MILTERD_TEST_ATTACKS=$(SOAK_ATTACKS) $(GO) test -count=1 -timeout 60m ./integration/attack
	MILTERD_TEST_SOAK=$(SOAK_SESSIONS) $(GO) test -count=1 -timeout 120m -run TestNothingIsLostOrLetThrough -v ./integration
	MILTERD_TEST_FRAMES=$(SOAK_FRAMES) $(GO) test -count=1 -timeout 60m -run TestManyStreams -v ./milter
	MILTERD_TEST_ROUNDS=$(SOAK_ROUNDS) $(GO) test -count=1 -timeout 60m -run TestAny ./milter/... ./policy/grant/...
	$(GO) test -race -count=20 -timeout 60m ./milter ./policy/...
	@sh .ci/fuzz $(SOAK_FUZZTIME)

include configs/packaging/package.mk
