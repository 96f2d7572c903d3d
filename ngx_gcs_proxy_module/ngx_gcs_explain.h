
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_EXPLAIN_H_INCLUDED_
#define _NGX_GCS_EXPLAIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* who has refused */
#define NGX_GCS_EXPLAIN_OAUTH     0x01
#define NGX_GCS_EXPLAIN_STS       0x02
#define NGX_GCS_EXPLAIN_IAM       0x04
#define NGX_GCS_EXPLAIN_METADATA  0x08
#define NGX_GCS_EXPLAIN_AWS       0x10
#define NGX_GCS_EXPLAIN_SUBJECT   0x20
#define NGX_GCS_EXPLAIN_STORAGE   0x40
#define NGX_GCS_EXPLAIN_ASSUME    0x80    /* AWS STS */
#define NGX_GCS_EXPLAIN_AGENT     0x100   /* of a container on AWS */
#define NGX_GCS_EXPLAIN_SIGNED    0x200   /* Storage, a URL signed elsewhere */


/* a status of HTTP that there is not */
#define NGX_GCS_EXPLAIN_UNANSWERED  1


/* what a refusal means for the one who has to do something about it */

typedef struct {
    ngx_uint_t    where;
    ngx_uint_t    status;     /* of HTTP; 0: any */
    char         *error;      /* the API's own word; NULL: any */
    char         *text;       /* a part of its description; NULL: any */
    char         *word;       /* of "$gcs_error"; NULL: the API's own */
    char         *remedy;
} ngx_gcs_explain_t;


/*
 * The first row of the table that fits; error and text may be NULL.  NULL:
 * nothing is known.
 */
ngx_gcs_explain_t *ngx_gcs_explain(ngx_uint_t where, ngx_uint_t status,
    const char *error, const char *text);


#endif /* _NGX_GCS_EXPLAIN_H_INCLUDED_ */
