/** Holds an SQLite file for itself alone until it is killed. Started with the path; prints `held`. */
import Database from 'better-sqlite3'

const database = new Database(process.argv[2])
database.pragma('locking_mode = EXCLUSIVE')
database.exec('BEGIN EXCLUSIVE')
console.log('held')
setInterval(() => database.name, 1000)
