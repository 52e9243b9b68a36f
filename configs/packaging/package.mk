# Packages and releases; the Makefile includes this.
#
# make deb      dist/milterd_VERSION_ARCH.deb
# make rpm      dist/milterd-VERSION.ARCH.rpm
# make release  both, and the binaries with the list of their parts (SBOM, CycloneDX), for
#               amd64 and arm64, with checksums; DIST is made anew

NFPM = $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX = $(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# Packages need a version that begins with a digit and sorts: one between two releases
# sorts by its number of commits, and one before the first release by its time.
PACKAGE_VERSION = $(shell sh configs/packaging/version '$(VERSION)')
GOARCH ?= $(shell $(GO) env GOARCH)
STAGE = bin/package
DIST = dist

.PHONY: deb rpm release stage package-version

package-version:
	@echo $(PACKAGE_VERSION)

# bin/package holds what both packages consist of, for one architecture.
stage:
	GOARCH=$(GOARCH) $(MAKE) --no-print-directory build
	sh configs/packaging/stage $(STAGE) $(PACKAGE_VERSION)
	@mkdir -p $(DIST)

deb: stage
	PACKAGE_VERSION=$(PACKAGE_VERSION) PACKAGE_ARCH=$(GOARCH) GOARCH= $(NFPM) package -f configs/packaging/nfpm.yaml -p deb -t $(DIST)/milterd_$(PACKAGE_VERSION)_$(GOARCH).deb

rpm: stage
	PACKAGE_VERSION=$(PACKAGE_VERSION) PACKAGE_ARCH=$(GOARCH) GOARCH= $(NFPM) package -f configs/packaging/nfpm.yaml -p rpm -t $(DIST)/milterd-$(PACKAGE_VERSION).$(GOARCH).rpm

# The parts are read from the binary: what it was linked from, in any kind of source tree.
release:
	rm -rf $(DIST)
	for arch in amd64 arm64; do \
		name=$(DIST)/milterd-$(PACKAGE_VERSION)-linux-$$arch && \
		$(MAKE) --no-print-directory deb rpm GOARCH=$$arch && \
		cp bin/milterd $$name && \
		$(CYCLONEDX) bin -json -licenses -std -version $(PACKAGE_VERSION) -output $$name.cdx.json bin/milterd || exit 1; \
	done
	cd $(DIST) && sha256sum * >SHA256SUMS
