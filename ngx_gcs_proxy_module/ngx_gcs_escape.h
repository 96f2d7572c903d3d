
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_ESCAPE_H_INCLUDED_
#define _NGX_GCS_ESCAPE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Percent-encodes everything but the unreserved characters of RFC 3986
 * (A-Z a-z 0-9 - . _ ~), with upper-case hexadecimal digits, as the XML API
 * and V4 signing want it.  The caller allocates what the _len function says.
 */

/* the length in bytes of src when encoded as a path: "/" is kept */
size_t ngx_gcs_escape_path_len(u_char *src, size_t size);

/* encodes src as a path ("/" is kept); returns the end of the text */
u_char *ngx_gcs_escape_path(u_char *dst, u_char *src, size_t size);

/* the length in bytes of src when encoded as a query or form component */
size_t ngx_gcs_escape_query_len(u_char *src, size_t size);

/* encodes src as a query or form component; returns the end of the text */
u_char *ngx_gcs_escape_query(u_char *dst, u_char *src, size_t size);


#endif /* _NGX_GCS_ESCAPE_H_INCLUDED_ */
