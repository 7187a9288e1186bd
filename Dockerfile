# The operator for a cluster: one static program, run as a user without rights, and the certificate authorities that images are
# fetched with. `make docker-build IMG=...` builds it.
FROM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
# Modules change more rarely than code.
COPY go.mod go.sum ./
RUN go mod download
COPY albatross albatross
COPY api api
COPY cmd cmd
COPY config config
COPY controllers controllers
COPY internal internal
RUN CGO_ENABLED=0 GOOS=${TARGETOS:-linux} GOARCH=${TARGETARCH} go build -trimpath -ldflags '-s -w' -o /manager ./cmd/manager

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
