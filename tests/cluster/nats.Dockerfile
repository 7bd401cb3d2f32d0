# The nats-server of the tests, in place of the official image.
FROM scratch
COPY nats-server /
ENTRYPOINT ["/nats-server"]
