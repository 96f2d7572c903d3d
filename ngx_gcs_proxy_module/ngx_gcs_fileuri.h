
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_FILEURI_H_INCLUDED_
#define _NGX_GCS_FILEURI_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_object.h"


/* the longest query that is read, bytes */
#define NGX_GCS_FILEURI_MAX  8192


/*
 * Finds the object that Label Studio would find in the query of one of its
 * media URLs, "/tasks/N/resolve/?fileuri=...".  Django decodes the query, then
 * base64.urlsafe_b64decode() the argument or, when that fails, unquote() does
 * so a second time; urlparse() gives the bucket, and the object without the
 * slashes that it begins with.
 *
 * Label Studio is asked about one object and that same object must be served,
 * so all is refused that it, with whichever Python, could read in another way:
 *
 *   an argument that is missing, empty or there twice (Django takes the last
 *   one, and knows it by its decoded name);
 *   base64 but of the alphabet of URLs, properly padded, and not with bits or
 *   characters that Python would drop;
 *   a URI with "?" (the rest would be lost), a tab or a line break (urlparse()
 *   removes them), or text that is not UTF-8 at any of the steps;
 *   anything but "gs://", an invalid bucket name, an invalid or empty object
 *   name;
 *   a query with "#", which ends a URL for some but not for others, or with
 *   bytes that a client should have escaped.
 *
 * query is what the application is sent behind the first "?", which need not
 * be r->args: nginx ends that at a "#" and passes the rest on nonetheless.
 *
 * Segments "." and ".." are as literal as Label Studio and Cloud Storage take
 * them.  Returns NGX_OK and the object, allocated from pool; NGX_DECLINED and
 * *reason, a constant string; NGX_ERROR if memory is out.
 * (https://github.com/HumanSignal/label-studio, io_storages/proxy_api.py)
 */
ngx_int_t ngx_gcs_fileuri(ngx_pool_t *pool, ngx_str_t *query,
    ngx_gcs_object_t *object, char **reason);


#endif /* _NGX_GCS_FILEURI_H_INCLUDED_ */
