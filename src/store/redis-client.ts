/**
 * The user's own client of `ioredis`, one server or one behind Sentinel, in words of our own: the types of a bot
 * that has not installed that driver must stand too.
 */
export interface RedisClient {
  readonly options: object
  duplicate(override?: object): unknown
  callBuffer(command: string): Promise<unknown>
}
