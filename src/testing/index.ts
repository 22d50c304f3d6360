/**
 * The conformance suite: every promise that a store makes to the engine, as tests.
 *
 * For authors of stores. The caller brings the test runner and the way to open the store.
 */
export { type ConformanceOptions, storeConformance } from './conformance.ts'
