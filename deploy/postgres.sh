#!/bin/sh
# Runs PostgreSQL on /data; at the first start it makes the user and the database `wallet` there.
# What it holds is made again from the journals, so nothing here is kept twice.
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH

if [ ! -d /data/store ]; then
    rm -rf /data/unfinished # of a first start that was cut short
    initdb --pgdata=/data/unfinished --username=wallet --pwfile=/run/secrets/password \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums
    echo 'host all all all scram-sha-256' >>/data/unfinished/pg_hba.conf
    echo 'CREATE DATABASE wallet' | postgres --single -D /data/unfinished postgres
    mv /data/unfinished /data/store
fi
exec postgres -D /data/store -c 'listen_addresses=*' -c unix_socket_directories=/tmp "$@"
