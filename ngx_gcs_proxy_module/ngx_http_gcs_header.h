
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_HEADER_H_INCLUDED_
#define _NGX_HTTP_GCS_HEADER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/*
 * A walk over a list of headers.  It comes by those that have been taken back,
 * too, whose hash is 0: who must not see them looks at that.
 */

typedef struct {
    ngx_list_part_t  *part;
    ngx_uint_t        n;         /* of the next one in it */
} ngx_http_gcs_header_walk_t;


/* the next one, or NULL */
static ngx_inline ngx_table_elt_t *
ngx_http_gcs_header_next(ngx_http_gcs_header_walk_t *walk)
{
    ngx_table_elt_t  *h;

    while (walk->n >= walk->part->nelts) {

        if (walk->part->next == NULL) {
            return NULL;
        }

        walk->part = walk->part->next;
        walk->n = 0;
    }

    h = walk->part->elts;

    return &h[walk->n++];
}


/* the one that is at this place of a list, or the first one behind it */
static ngx_inline ngx_table_elt_t *
ngx_http_gcs_header_from(ngx_http_gcs_header_walk_t *walk,
    ngx_list_part_t *part, ngx_uint_t n)
{
    walk->part = part;
    walk->n = n;

    return ngx_http_gcs_header_next(walk);
}


/* the first one of a list */
static ngx_inline ngx_table_elt_t *
ngx_http_gcs_header_first(ngx_http_gcs_header_walk_t *walk,
    ngx_list_t *headers)
{
    return ngx_http_gcs_header_from(walk, &headers->part, 0);
}


/* whether it has this name, in any case of letters */
static ngx_inline ngx_uint_t
ngx_http_gcs_header_named(ngx_table_elt_t *h, char *name, size_t len)
{
    return h->key.len == len
           && ngx_strncasecmp(h->key.data, (u_char *) name, len) == 0;
}


#endif /* _NGX_HTTP_GCS_HEADER_H_INCLUDED_ */
