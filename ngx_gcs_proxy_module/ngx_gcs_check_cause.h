
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CHECK_CAUSE_H_INCLUDED_
#define _NGX_GCS_CHECK_CAUSE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_check.h"


#define ngx_gcs_check_bit(step)  ((ngx_uint_t) 1 << (step))


/*
 * What may go wrong, and what to do.  In a command "$" and a letter stand for
 * a value: B the bucket, M who reads, C who asks IAM, T the account that IAM
 * acts for, P its project, U the billed one, H and N the endpoint's host and
 * port, W the provider of a federation, O the rules of CORS.
 */

typedef struct {
    ngx_uint_t    steps;      /* bits */
    ngx_uint_t    status;     /* of HTTP, or its hundreds; 0: any */
    char         *code;       /* of Google, or a word of ours; NULL: any */
    char         *text;       /* a part of its words; NULL: any */
    char         *cause;
    char         *remedy;
    char         *command;    /* NULL: none */
} ngx_gcs_check_cause_t;


/* special rows stand before general ones; the last one has no steps */
extern ngx_gcs_check_cause_t  ngx_gcs_check_causes[];


#endif /* _NGX_GCS_CHECK_CAUSE_H_INCLUDED_ */
