
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_LIST_H_INCLUDED_
#define _NGX_HTTP_GCS_LIST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_list.h"
#include "ngx_gcs_unescape.h"
#include "ngx_http_gcs_types.h"


/*
 * "gcs_autoindex": a request for a folder is a request for the first page of
 * its listing, by the stock proxy as all others.  A body filter reads the
 * answer and writes it anew; further pages are subrequests of the same
 * location, as with the slice module.
 */


/* as in "gcs_autoindex" */

typedef enum {
    NGX_HTTP_GCS_AUTOINDEX_OFF = 0,
    NGX_HTTP_GCS_AUTOINDEX_JSON,
    NGX_HTTP_GCS_AUTOINDEX_HTML
} ngx_http_gcs_autoindex_e;


/* a listing, in the pool of the main request */

struct ngx_http_gcs_list_s {
    ngx_gcs_list_parser_t        parser;
    ngx_gcs_list_page_t          page;
    ngx_gcs_list_entry_t         entry;      /* the last one read */
    ngx_str_t                    name;       /* "/bucket/folder", for logs */
    ngx_str_t                    prefix;     /* that was asked for */
    ngx_str_t                    token;      /* of the page asked for */
    ngx_uint_t                   limit;      /* entries of a page */
    ngx_uint_t                   pages;      /* asked for so far */
    ngx_msec_t                   start;

    ngx_chain_t                 *in;         /* not yet read */
    ngx_buf_t                   *buf;        /* being written */
    ngx_uint_t                   bufs;
    ngx_chain_t                 *free;
    ngx_chain_t                 *busy;

    /* pages but the first: each has a pool, which goes when it has gone */
    ngx_http_request_t          *sr;
    ngx_pool_t                  *pool;
    ngx_pool_t                  *previous;

    unsigned                     xml:1;
    unsigned                     jsonl:1;    /* so the client calls lines */
    unsigned                     whole:1;    /* all pages in one answer */
    unsigned                     active:1;   /* the answer is ours */
    unsigned                     begun:1;
    unsigned                     pending:1;  /* the entry is to be written */
    unsigned                     ended:1;    /* the page */
    unsigned                     last:1;     /* the main request's own page */
    unsigned                     finished:1;
    unsigned                     foreign:1;  /* an entry was left out */
};


#endif /* _NGX_HTTP_GCS_LIST_H_INCLUDED_ */
