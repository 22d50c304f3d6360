// One plain line from vitest's JSON report: how many tests passed and failed.
import { readFileSync } from 'node:fs'

const report = JSON.parse(readFileSync(process.argv[2], 'utf8') || '{}')
const files = report.testResults ?? []
// A file that could not even be loaded has no tests to count, but it has failed.
const broken = files.filter((file) => file.status === 'failed' && file.assertionResults.length === 0)
console.log(`${report.numPassedTests ?? 0} passed, ${(report.numFailedTests ?? 0) + broken.length} failed`)
