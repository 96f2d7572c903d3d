
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_UNESCAPE_H_INCLUDED_
#define _NGX_GCS_UNESCAPE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Decodes each "%XX" of src once, and each "+" to a space if plus is set; all
 * else stays as it is, a malformed escape too, as with Python's unquote() and
 * unquote_plus().  dst has room for size bytes and may be src.  Returns the
 * end of the text.
 */
u_char *ngx_gcs_unescape(u_char *dst, u_char *src, size_t size,
    ngx_uint_t plus);

/* whether an escape, two hexadecimal digits behind a "%", is at p */
ngx_uint_t ngx_gcs_unescape_at(u_char *p, u_char *last);


#endif /* _NGX_GCS_UNESCAPE_H_INCLUDED_ */
