# Packages and releases; the Makefile includes this.
#
# make deb      dist/milterd_VERSION_ARCH.deb
# make rpm      dist/milterd-VERSION.ARCH.rpm
# make release  both, and the binaries, for amd64 and arm64, with their checksums

NFPM = $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX = $(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# Packages need a version that begins with a digit and sorts: one between two releases
# sorts by its number of commits, and one before the first release by its time.
PACKAGE_VERSION = $(shell sh configs/packaging/version '$(VERSION)')
GOARCH ?= $(shell $(GO) env GOARCH)
STAGE = bin/package
DIST = dist

.PHONY: deb rpm release stage

# bin/package holds what both packages consist of, for one architecture.
stage:
	GOARCH=$(GOARCH) $(MAKE) --no-print-directory build
	sh configs/packaging/stage $(STAGE) $(PACKAGE_VERSION)
	@mkdir -p $(DIST)

deb: stage
	PACKAGE_VERSION=$(PACKAGE_VERSION) PACKAGE_ARCH=$(GOARCH) GOARCH= $(NFPM) package -f configs/packaging/nfpm.yaml -p deb -t $(DIST)/milterd_$(PACKAGE_VERSION)_$(GOARCH).deb

rpm: stage
	PACKAGE_VERSION=$(PACKAGE_VERSION) PACKAGE_ARCH=$(GOARCH) GOARCH= $(NFPM) package -f configs/packaging/nfpm.yaml -p rpm -t $(DIST)/milterd-$(PACKAGE_VERSION).$(GOARCH).rpm

release:
	rm -rf dist
	for arch in amd64 arm64; do \
		$(MAKE) --no-print-directory deb rpm GOARCH=$$arch && \
		cp bin/milterd dist/milterd-$(PACKAGE_VERSION)-linux-$$arch || exit 1; \
	done
	$(CYCLONEDX) app -json -licenses -main cmd/milterd -output dist/milterd-$(PACKAGE_VERSION).cdx.json . || echo "make release: no list of the parts (SBOM), see above" >&2
	cd dist && sha256sum * >SHA256SUMS
