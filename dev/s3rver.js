// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// s3rver, and what it does where a name must be free (If-None-Match: *), which by itself it does not look at:
// node dev/s3rver.js HOST PORT FOLDER BUCKET ignored|refused|kept

'use strict';

const S3rver = require('s3rver');
const S3Error = require('s3rver/lib/models/error');

const [address, port, directory, bucket, conditions] = process.argv.slice(2);
const server = new S3rver({
  address,
  port: Number(port),
  directory,
  silent: true,
  configureBuckets: [{ name: bucket }],
});

async function look(context, next) {
  if (conditions !== 'ignored' && context.get('If-None-Match') === '*') {
    if (conditions === 'refused') {
      const told = 'A header you provided implies functionality that is not implemented';
      throw new S3Error('NotImplemented', told, { Header: 'If-None-Match' });
    }
    const [, bucketName, key] = /^\/([^/]+)\/(.*)$/.exec(decodeURIComponent(context.path));
    if (await server.store.existsObject(bucketName, key)) {
      const told = 'At least one of the pre-conditions you specified did not hold';
      throw new S3Error('PreconditionFailed', told, { Condition: 'If-None-Match' });
    }
  }
  return next();
}

server.middleware.unshift(look);
server.run();
