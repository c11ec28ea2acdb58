// Read topics from Go: `go run . TOPIC...`, Kafka names such as broker.event.transfer.
//
// Prints each record as one JSON line, handles every alert once, ends after IDLE_S seconds without a record, and commits
// its offsets: the next run continues there. Environment: KAFKA, REGISTRY, GROUP, HANDLED (a file), IDLE_S.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

type line struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Offset    int64   `json:"offset"`
	Key       *string `json:"key"`
	Value     any     `json:"value"`
}

// decoder reads values in the Confluent wire format: 0x00, a schema id of 4 bytes, an Avro body.
type decoder struct {
	registry *sr.Client
	schemas  map[int]avro.Schema
}

func (d decoder) decode(ctx context.Context, value []byte) (avro.Schema, map[string]any, error) {
	if len(value) < 5 || value[0] != 0 {
		return nil, nil, fmt.Errorf("not in the Confluent wire format")
	}
	id := int(binary.BigEndian.Uint32(value[1:5]))
	schema, known := d.schemas[id]
	if !known {
		found, err := d.registry.SchemaByID(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if schema, err = avro.Parse(found.Schema); err != nil {
			return nil, nil, err
		}
		d.schemas[id] = schema
	}
	record := map[string]any{}
	err := avro.Unmarshal(schema, value[5:], &record)
	return schema, record, err
}

// plain gives exact text for JSON: a float64 would lose digits of an amount.
func plain(schema avro.Schema, value any) any {
	switch s := schema.(type) {
	case *avro.RefSchema:
		return plain(s.Schema(), value)
	case *avro.UnionSchema: // ["null", T]; hamba gives a list, a map or a record in it as {"name of T": value}
		if branches, ok := value.(map[string]any); ok {
			for _, branch := range branches {
				value = branch
			}
		}
		if value == nil {
			return nil
		}
		return plain(s.Types()[1], value)
	case *avro.RecordSchema:
		fields := map[string]any{}
		for _, field := range s.Fields() {
			fields[field.Name()] = plain(field.Type(), value.(map[string]any)[field.Name()])
		}
		return fields
	case *avro.MapSchema:
		members := map[string]any{}
		for name, member := range value.(map[string]any) {
			members[name] = plain(s.Values(), member)
		}
		return members
	case *avro.ArraySchema:
		list, _ := value.([]any) // an empty list is nil
		items := make([]any, len(list))
		for i, item := range list {
			items[i] = plain(s.Items(), item)
		}
		return items
	}
	switch v := value.(type) {
	case *big.Rat:
		return v.FloatString(18)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	return value
}

// alerts remembers handled alerts by alert_id. Use a unique key in your database.
type alerts struct {
	file *os.File
	done map[string]bool
}

func (a alerts) handle(alert map[string]any) {
	id := alert["alert_id"].(string)
	if !a.done[id] {
		a.done[id] = true
		fmt.Fprintln(a.file, id)
	}
}

func openAlerts() alerts {
	file, err := os.OpenFile(env("HANDLED", "handled-alerts.txt"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	check(err)
	done := map[string]bool{}
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		done[scanner.Text()] = true
	}
	return alerts{file, done}
}

func main() {
	ctx := context.Background()
	registry, err := sr.NewClient(sr.URLs(env("REGISTRY", "http://127.0.0.1:8081")))
	check(err)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(env("KAFKA", "127.0.0.1:9092")),
		kgo.ConsumerGroup(env("GROUP", "broker-subscriber-go")),
		kgo.ConsumeTopics(os.Args[1:]...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // the default of franz-go is read uncommitted
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), // commit what is processed, not what is fetched
	)
	check(err)
	defer client.Close()
	idle, err := time.ParseDuration(env("IDLE_S", "10") + "s")
	check(err)
	values, alerts, out := decoder{registry, map[int]avro.Schema{}}, openAlerts(), bufio.NewWriter(os.Stdout)
	for last := time.Now(); time.Since(last) < idle; {
		poll, cancel := context.WithTimeout(ctx, time.Second)
		fetches := client.PollFetches(poll)
		cancel()
		fetches.EachError(func(topic string, _ int32, err error) {
			if poll.Err() == nil {
				log.Fatalf("%s: %v", topic, err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			var value any // a tombstone is nil: the key is deleted
			if record.Value != nil {
				schema, fields, err := values.decode(ctx, record.Value)
				check(err)
				if strings.HasSuffix(record.Topic, ".alerts") {
					alerts.handle(fields)
				}
				value = plain(schema, fields)
			}
			var key *string
			if record.Key != nil {
				text := string(record.Key)
				key = &text
			}
			text, err := json.Marshal(line{record.Topic, record.Partition, record.Offset, key, value})
			check(err)
			fmt.Fprintln(out, string(text))
			last = time.Now()
		})
	}
	check(out.Flush())
	check(client.CommitUncommittedOffsets(ctx)) // after processing: a crash repeats records and loses none
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
