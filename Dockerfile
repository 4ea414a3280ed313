# The compiler runs on the machine that builds, whatever platform it builds for.
# Dependabot raises tag and digest together.
FROM --platform=$BUILDPLATFORM golang:1.26.9@sha256:f1f0bcc2c524a3ced375fcb4d1ecb7aa371aa7070e112599aaca45cc02d0101b AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/obstack . && \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/task-exporter ./cmd/task-exporter

# Two static programs need nothing else: no shell, no packages to scan and patch.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/obstack /out/task-exporter /
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/obstack"]
