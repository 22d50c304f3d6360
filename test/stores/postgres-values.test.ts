/** What is written is what was meant, whatever characters are in it: read back by the database itself. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { arrayText, bytes } from '../../src/store/postgres-values.ts'
import { seededRandom } from '../../src/testing/waiting.ts'
import { type PostgresWorld, postgresWorld } from './postgres-world.ts'

let world: PostgresWorld

beforeAll(async () => {
  world = await postgresWorld()
})

afterAll(() => world.close())

/** What array literals and bytes in escape format give a meaning to, and neighbours that they do not. */
const CHARACTERS = [
  '"',
  '\\',
  "'",
  ',',
  '{',
  '}',
  ' ',
  '\n',
  '\t',
  '\u007f',
  'x',
  '0',
  'NULL',
  '%',
  'é',
  '€',
  '😀',
  '\ufffd',
]
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

test(`texts, keys and numbers arrive as they are (SEED=${SEED})`, async () => {
  const client = await world.connect()
  const random = seededRandom(SEED)
  const any = () => CHARACTERS[Math.floor(random() * CHARACTERS.length)]
  const text = () => Array.from({ length: Math.floor(random() * 6) }, any).join('')
  for (let round = 0; round < 200; round++) {
    const texts = Array.from({ length: Math.floor(random() * 4) }, () => (random() < 0.2 ? null : text()))
    const keys = Array.from({ length: Math.floor(random() * 4) }, text)
    const numbers = keys.map(() => Math.floor(random() * 2 ** 53))
    const { rows } = await client.query({
      text: `SELECT to_json($1::text[]), $2::bytea[], to_json($3::bigint[]), to_json($4::boolean[]), $5::bytea`,
      values: [...[texts, keys.map(bytes), numbers, keys.map((key) => key > 'm')].map(arrayText), bytes(keys[0] ?? '')],
      rowMode: 'array',
    })
    const [readTexts, readKeys, readNumbers, readBooleans, first] = rows[0] ?? []
    expect(readTexts).toEqual(texts)
    expect(readKeys.map(String)).toEqual(keys)
    expect(readNumbers).toEqual(numbers)
    expect(readBooleans).toEqual(keys.map((key) => key > 'm'))
    expect(String(first)).toBe(keys[0] ?? '')
  }
})
