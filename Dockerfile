# weir in a container, from Debian's own packages:
#
#   docker build -t weir .
#   docker run -p 8080:8080 -v "$PWD/config:/etc/weir" weir                        # config/container.json answers by itself
#   docker run -p 8080:8080 -v "$PWD/mine:/etc/weir" weir run /etc/weir/mine.json  # yours; its listen must say 0.0.0.0
#
# make docker-test builds and runs it with buildah (tests/integration/dockerfile.sh).

FROM debian:trixie-slim AS build
WORKDIR /src
# The packages first: they change less often than the sources, so their layer is kept.
COPY .ci/deps .ci/
RUN .ci/deps
# What .dockerignore lets through: the Makefile and the rooms.
COPY . .
RUN make install DESTDIR=/out PREFIX=/usr

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libmicrohttpd12t64 libhiredis1.1.0 libuv1t64 libllhttp9.2 libjansson4 libgnutls30t64 ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/usr/bin/weir /usr/bin/weir
COPY config/*.json /etc/weir/
# A number, so that an orchestrator can see that it is not root.
USER 65532:65532
EXPOSE 8080
# The admin address is loopback's: only the container itself can ask, and does.
HEALTHCHECK --interval=5s --timeout=2s CMD ["weir", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["weir"]
CMD ["run", "/etc/weir/container.json"]
