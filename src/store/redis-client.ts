/**
 * The user's own client of `ioredis`, for one server, one behind Sentinel, or a cluster, in words of our own: the
 * types of a bot that has not installed that driver must stand too.
 */
export interface RedisClient {
  readonly options: object
  /** true: it is a `Cluster`. */
  readonly isCluster?: boolean
  duplicate(override?: object): unknown
  callBuffer(command: string): Promise<unknown>
}
