// Parse an AsyncAPI document with AsyncAPI's own parser and its Avro parser: `node asyncapi.mjs FILE`.
// Exits with 1 for an error or a warning. A newer AsyncAPI version alone is none.
import { readFileSync } from 'node:fs'
import avro from '@asyncapi/avro-schema-parser'
import asyncapi from '@asyncapi/parser'

const parser = new asyncapi.Parser()
parser.registerSchemaParser(avro.AvroSchemaParser())
const { document, diagnostics } = await parser.parse(readFileSync(process.argv[2], 'utf8'))
const problems = diagnostics.filter(({ code }) => code !== 'asyncapi-latest-version')
for (const { code, message, path } of problems) console.error(`${code}: ${path.join('.')}: ${message}`)
if (document === undefined || problems.length > 0) process.exit(1)
console.log(`AsyncAPI document with ${document.allChannels().length} channels and ${document.allMessages().length} messages is valid`)
