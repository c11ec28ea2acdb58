#!/bin/sh
# Read topics with kcat: `read_topic.sh TOPIC...`. Prints topic, partition, offset, key and value of each record.
#
# -C reads: without it, and without a terminal, kcat writes its standard input into the topic.
# -G commits what it has read to the group. -e ends at the end of the topics.
# Environment: KAFKA, GROUP. REGISTRY decodes Avro, if this kcat is built with it (Debian's is not); without it, read
# topics of text such as broker.raw and broker.ingest.cursors.
set -eu
format='{"topic":"%t","partition":%p,"offset":%o,"key":"%k"} %s\n'
decode=
if [ -n "${REGISTRY:-}" ] && kcat -V 2>&1 | grep -q Schema-Registry; then
  decode="-r $REGISTRY -s value=avro"
fi
# shellcheck disable=SC2086
exec kcat -C -q -e -b "${KAFKA:-127.0.0.1:9092}" -X isolation.level=read_committed -X auto.offset.reset=earliest \
  $decode -f "$format" -G "${GROUP:-broker-subscriber-kcat}" "$@"
