-- Runs once, by the postgres image, on an empty volume: a database with its own role for each service.
-- The passwords come from the environment; without one, the script stops at the role.

\getenv recommendations_password RECOMMENDATIONS_PASSWORD
\getenv programme_password PROGRAMME_PASSWORD
\getenv monitor_password MONITOR_PASSWORD
\getenv reporting_password REPORTING_PASSWORD

create role recommendations login password :'recommendations_password';
create role programme login password :'programme_password';
create role monitor login password :'monitor_password';
create role reporting login password :'reporting_password';

create database recommendations owner recommendations;
create database programme owner programme;
create database monitor owner monitor;
create database reporting owner reporting;

-- Every database is for its owner alone.
revoke connect, temporary on database recommendations, programme, monitor, reporting, postgres, template1 from public;
